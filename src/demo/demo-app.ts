import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { invariant } from '../base/invariant.ts';
import { isJsonObject } from '../base/json.ts';
import type { Log } from '../base/log.ts';
import { agentRoute, answerError, type AgentWork } from './agent-route.ts';
import { createCsvProfiler } from './csv-profiler.ts';
import type { DocumentFetcher } from './fetch-document.ts';
import { createHtmlToMarkdown } from './html-to-markdown.ts';
import type { IsolatedWork } from './isolated-work.ts';
import type { ManifestFile } from './manifests.ts';
import { createPdfSummariser } from './pdf-summariser.ts';
import { SAMPLES } from './samples.ts';

const MAX_BODY_BYTES = 5_000_000;

/** One route for each agent, named like its manifest, and the sample documents. */
export function createDemoApp(options: {
  files: ManifestFile[];
  fetcher: DocumentFetcher;
  isolated: IsolatedWork;
  closing: AbortSignal;
  log: Log;
}): Hono {
  const { files, fetcher, isolated, closing, log } = options;
  const agents: Record<string, AgentWork> = {
    'pdf-summariser': createPdfSummariser(fetcher, isolated),
    'html-to-markdown': createHtmlToMarkdown(fetcher, isolated),
    'csv-profiler': createCsvProfiler(fetcher, isolated),
  };

  const app = new Hono();
  app.use(
    bodyLimit({
      maxSize: MAX_BODY_BYTES,
      onError: (context) =>
        context.json(
          { error: { message: `The body is larger than ${MAX_BODY_BYTES / 1_000_000} MB.` } },
          413,
        ),
    }),
  );
  // The published schema is also what the agent holds its input to, so the two cannot drift apart.
  const ajv = new Ajv2020({ allErrors: true, useDefaults: true, strict: false });
  addFormats.default(ajv);
  for (const [name, work] of Object.entries(agents)) {
    const schema = files.find(({ file }) => file === `${name}.json`)?.manifest['input_schema'];
    invariant(isJsonObject(schema), `manifests/${name}.json has an input_schema`);
    app.post(`/${name}`, agentRoute({ work, checkInput: ajv.compile(schema), closing, log }));
  }
  app.get('/samples/:name', (context) => {
    const sample = Object.hasOwn(SAMPLES, context.req.param('name'))
      ? SAMPLES[context.req.param('name')]
      : undefined;
    if (!sample) return context.notFound();
    return context.body(sample.bytes, 200, { 'content-type': sample.contentType });
  });
  app.notFound((context) => context.json({ error: { message: 'There is nothing here.' } }, 404));
  app.onError((error, context) => answerError(error, context, log));
  return app;
}
