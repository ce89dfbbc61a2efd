import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { measureCalls } from './calls.ts';
import { measureCatalogue } from './catalogue.ts';
import { measureLedger } from './ledger.ts';
import { measureProxyStart } from './proxy-start.ts';
import { report, type Figure } from './report.ts';
import { measureStatement } from './statement.ts';
import { measureStreams } from './streams.ts';
import { measureWebhooks } from './webhooks.ts';

// npm run bench [-- --only calls,ledger] [--rounds N] [--seconds N] [--json FILE]
const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    json: { type: 'string' },
  },
});
const options = { rounds: Number(values.rounds), seconds: Number(values.seconds) };
const sections: Record<string, () => Promise<Figure[]>> = {
  calls: () => measureCalls(options),
  ledger: () => measureLedger(options),
  catalogue: () => measureCatalogue(options),
  streams: () => measureStreams(),
  proxy: () => measureProxyStart(),
  webhooks: () => measureWebhooks(options),
  statement: () => measureStatement(),
};
const chosen = values.only?.split(',') ?? Object.keys(sections);

const figures: Figure[] = [];
for (const name of chosen) {
  const section = sections[name];
  if (!section)
    throw new Error(`There is no section ${name}; there are ${Object.keys(sections).join(', ')}.`);
  process.stderr.write(`measuring ${name} …\n`);
  figures.push(...(await section()));
}
console.log(
  `${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.version}, medians of ${options.rounds} interleaved rounds`,
);
report(figures, values.json);
process.exit(0);
