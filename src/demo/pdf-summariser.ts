import type { AgentWork } from './agent-route.ts';
import { readAll, type DocumentFetcher } from './fetch-document.ts';
import type { IsolatedWork } from './isolated-work.ts';
import type { PdfJob, PdfSummary } from './pdf-worker.ts';
import { Refusal } from './refusal.ts';

const MAX_PDF_BYTES = 20_000_000;
/** Together under the manifest's 45 seconds, so that the buyer reads our reason and not a bare timeout. */
const DOWNLOAD_TIMEOUT_MS = 20_000;
const READING_TIMEOUT_MS = 20_000;
const WORKER = new URL('./pdf-worker.ts', import.meta.url);

/** A PDF's URL → its most telling sentences, each sent as a chunk before the whole answer. */
export function createPdfSummariser(fetcher: DocumentFetcher, isolated: IsolatedWork): AgentWork {
  return async (input, { signal, onChunk }) => {
    const { url, max_bullets: maxBullets } = input;
    if (typeof url !== 'string') throw new Refusal(400, 'Give the url of a PDF.');
    const document = await fetcher.fetch(url, {
      accept: 'application/pdf',
      maxBytes: MAX_PDF_BYTES,
      signal: AbortSignal.any([signal, AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS)]),
    });
    const job: PdfJob = {
      bytes: await readAll(document),
      fallbackTitle: fileNameOf(document.url),
      maxBullets: Number(maxBullets),
    };
    const summary = await isolated.run<PdfSummary>(WORKER, job, { timeoutMs: READING_TIMEOUT_MS, signal });
    if (summary.bullets.length === 0) throw new Refusal(422, 'The PDF contains no sentences to summarise.');
    for (const bullet of summary.bullets) await onChunk(bullet);
    return summary;
  };
}

function fileNameOf(url: URL): string {
  const last = url.pathname.split('/').at(-1) ?? '';
  try {
    return decodeURIComponent(last).replace(/\.pdf$/i, '') || url.hostname;
  } catch {
    return last || url.hostname;
  }
}
