import type { AgentWork } from './agent-route.ts';
import type { CsvJob, CsvProfile } from './csv-profile.ts';
import { readAll, type DocumentFetcher } from './fetch-document.ts';
import type { IsolatedWork } from './isolated-work.ts';
import { Refusal } from './refusal.ts';

const MAX_CSV_BYTES = 20_000_000;
const DOWNLOAD_TIMEOUT_MS = 20_000;
const PROFILING_TIMEOUT_MS = 30_000;
const WORKER = new URL('./csv-worker.ts', import.meta.url);

/** A CSV, by URL or as text, → a profile of every column. */
export function createCsvProfiler(fetcher: DocumentFetcher, isolated: IsolatedWork): AgentWork {
  return async (input, { signal }) => {
    const { url, csv } = input;
    const delimiter = typeof input['delimiter'] === 'string' ? input['delimiter'] : undefined;
    const profile = (source: CsvJob['source']) => {
      const job: CsvJob = { source, delimiter };
      return isolated.run<CsvProfile>(WORKER, job, { timeoutMs: PROFILING_TIMEOUT_MS, signal });
    };
    if (typeof csv === 'string' && url === undefined) return profile(csv);
    if (typeof url !== 'string' || csv !== undefined)
      throw new Refusal(400, 'Give exactly one of url and csv.');
    const document = await fetcher.fetch(url, {
      accept: 'text/csv, text/tab-separated-values, text/plain',
      refuse: /^(text\/html|application\/(pdf|zip|json)|image\/)/,
      maxBytes: MAX_CSV_BYTES,
      signal: AbortSignal.any([signal, AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS)]),
    });
    return profile({ bytes: await readAll(document), contentType: document.contentType });
  };
}
