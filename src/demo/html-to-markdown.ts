import type { AgentWork } from './agent-route.ts';
import { readAll, type DocumentFetcher } from './fetch-document.ts';
import type { PageSource } from './html-charset.ts';
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
    const convert = (source: PageSource, baseUrl: string | undefined) => {
      const job: HtmlJob = { source, baseUrl, mainContentOnly: mainContentOnly === true };
      return isolated.run<MarkdownPage>(WORKER, job, limits);
    };
    if (typeof html === 'string' && url === undefined) return convert(html, undefined);
    if (typeof url !== 'string' || html !== undefined)
      throw new Refusal(400, 'Give exactly one of url and html.');
    const document = await fetcher.fetch(url, {
      accept: 'text/html, application/xhtml+xml',
      refuse: /^(?!text\/html|application\/xhtml\+xml|text\/plain|$)/,
      maxBytes: MAX_HTML_BYTES,
      signal: AbortSignal.any([signal, AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS)]),
    });
    const source = { bytes: await readAll(document), contentType: document.contentType };
    return convert(source, document.url.href);
  };
}
