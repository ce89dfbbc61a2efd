import type { AgentWork } from './agent-route.ts';
import { readAll, type Document, type DocumentFetcher } from './fetch-document.ts';
import type { HtmlJob, MarkdownPage } from './html-markdown.ts';
import type { IsolatedWork } from './isolated-work.ts';
import { Refusal } from './refusal.ts';

const MAX_HTML_BYTES = 5_000_000;
const DOWNLOAD_TIMEOUT_MS = 15_000;
const CONVERTING_TIMEOUT_MS = 10_000;
const WORKER = new URL('./html-worker.ts', import.meta.url);

/** A web page, by URL or as text, → Markdown with absolute links. */
export function createHtmlToMarkdown(fetcher: DocumentFetcher, isolated: IsolatedWork): AgentWork {
  return async (input, { signal }) => {
    const { url, html, main_content_only: mainContentOnly } = input;
    const limits = { timeoutMs: CONVERTING_TIMEOUT_MS, signal };
    const convert = (page: { html: string; baseUrl: string | undefined }) => {
      const job: HtmlJob = { ...page, mainContentOnly: mainContentOnly === true };
      return isolated.run<MarkdownPage>(WORKER, job, limits);
    };
    if (typeof html === 'string' && url === undefined) return convert({ html, baseUrl: undefined });
    if (typeof url !== 'string' || html !== undefined)
      throw new Refusal(400, 'Give exactly one of url and html.');
    return convert(await download(url, fetcher, signal));
  };
}

async function download(url: string, fetcher: DocumentFetcher, signal: AbortSignal) {
  const document = await fetcher.fetch(url, {
    accept: 'text/html, application/xhtml+xml',
    refuse: /^(?!text\/html|application\/xhtml\+xml|text\/plain|$)/,
    maxBytes: MAX_HTML_BYTES,
    signal: AbortSignal.any([signal, AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS)]),
  });
  return { html: decode(await readAll(document), document), baseUrl: document.url.href };
}

/** The charset of the header, else of a `meta` in the first kilobyte, else UTF-8 (the HTML standard's order). */
function decode(bytes: Uint8Array, { contentType }: Document): string {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 1024)).toString(
    'latin1',
  );
  const label =
    /charset\s*=\s*"?([\w-]+)/.exec(contentType)?.[1] ??
    /<meta[^>]+charset\s*=\s*["']?([\w-]+)/i.exec(head)?.[1];
  try {
    return new TextDecoder(label ?? 'utf-8').decode(bytes);
  } catch {
    return new TextDecoder().decode(bytes);
  }
}
