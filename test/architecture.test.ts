import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

const SOURCE = fileURLToPath(new URL('../src', import.meta.url));

/** Who may walk where: imports point down. `tables.ts` of another module is allowed for foreign keys. */
const DOMAIN = ['identity', 'catalog', 'ledger', 'governance', 'audit', 'billing', 'upstream', 'webhooks'];
const MAY_IMPORT: Record<string, readonly string[]> = {
  base: [],
  db: ['base'],
  // Sellers' servers for the demo: they know the gateway only over HTTP, as any seller does.
  demo: ['base'],
  identity: ['base', 'db'],
  catalog: ['base', 'db'],
  ledger: ['base', 'db'],
  // The caller's key, its caps and the meters that count them are what a limit is about.
  governance: ['base', 'db', 'identity', 'ledger'],
  // A proof says what the accounts of the ledger sum to.
  audit: ['base', 'db', 'ledger'],
  upstream: ['base'],
  // The journal tells of calls, and webhooks are sent through the guard that agents are called through.
  webhooks: ['base', 'db', 'ledger', 'audit', 'upstream'],
  // Whoever is told that a spending cap is nearly used is the owner of the key whose spending it counts.
  billing: ['base', 'db', 'identity', 'ledger', 'audit'],
  calls: ['base', 'db', 'identity', 'catalog', 'ledger', 'governance', 'audit', 'upstream'],
  jobs: ['base', 'db', ...DOMAIN, 'calls'],
  mcp: ['base', 'db', ...DOMAIN, 'calls'],
  // It mounts the MCP endpoint, which knows no server.
  http: ['base', 'db', ...DOMAIN, 'calls', 'mcp'],
  client: ['base'],
  cli: ['base', 'client'],
  proxy: ['base', 'client'],
  dashboard: ['base', 'client'],
  runtime: ['base', 'db', 'demo', ...DOMAIN, 'calls', 'jobs', 'mcp', 'http', 'client', 'cli'],
};
/** The one door upwards: the command's entry starts the runtime, and only when a command asks for it. */
const ALLOWED_EDGES = new Set(['cli/sentinel.ts -> runtime']);
const MONEY_ROOMS = ['ledger', 'billing', 'calls'];
/** Processes have clocks of their own, and money and work are everybody's. */
const ROOMS_WITHOUT_CLOCK = ['ledger', 'billing', 'audit', 'webhooks', 'identity'];
const LONGEST_FILE_LINES = 400;

const files = globSync('**/*.{ts,tsx}', { cwd: SOURCE })
  .filter((file) => !file.includes('node_modules') && !file.includes('dist/'))
  .map((file) => ({ file, room: file.split('/')[0] ?? '', text: readFileSync(join(SOURCE, file), 'utf8') }));

test('every room is in the import table', () => {
  const unknown = new Set(files.map(({ room }) => room).filter((room) => !(room in MAY_IMPORT)));
  assert.deepEqual([...unknown], []);
});

test('imports point down, as the table says', () => {
  const wrong = files.flatMap(({ file, room, text }) =>
    importsOf(file, text)
      .filter((target) => !target.startsWith('..'))
      .filter((target) => {
        const targetRoom = target.split('/')[0] ?? '';
        if (targetRoom === room || MAY_IMPORT[room]?.includes(targetRoom)) return false;
        if (file.endsWith('tables.ts') && target.endsWith('/tables.ts')) return false;
        // The client is typed by the routes it calls; types leave nothing behind at run time.
        if (room === 'client' && targetRoom === 'http' && isTypeOnly(text, target)) return false;
        return !ALLOWED_EDGES.has(`${file} -> ${targetRoom}`);
      })
      .map((target) => `${file} imports ${target}`),
  );
  assert.deepEqual(wrong, []);
});

test('imports go round in no circle, those of types included', () => {
  const targets = new Map(files.map(({ file, text }) => [file, importsOf(file, text)]));
  const circles: string[] = [];
  const done = new Set<string>();
  const walk = (file: string, path: readonly string[]): void => {
    const at = path.indexOf(file);
    if (at !== -1) circles.push([...path.slice(at), file].join(' → '));
    if (at !== -1 || done.has(file)) return;
    for (const target of targets.get(file) ?? []) walk(target, [...path, file]);
    done.add(file);
  };
  for (const { file } of files) walk(file, []);
  assert.deepEqual(circles, []);
});

test('only the billing room imports stripe, and only the runtime reads the environment', () => {
  const stripe = files.filter(({ room, text }) => room !== 'billing' && /from 'stripe'/.test(text));
  assert.deepEqual(
    stripe.map(({ file }) => file),
    [],
  );
  const standalone = ['runtime', 'cli', 'proxy', 'demo'];
  const readers = files.filter(({ room, text }) => !standalone.includes(room) && /process\.env/.test(text));
  assert.deepEqual(
    readers.map(({ file }) => file).filter((file) => !ENVIRONMENT_OF_CHILDREN.has(file)),
    [],
  );
});

/** Passing the environment on to a child process is not reading it. */
const ENVIRONMENT_OF_CHILDREN = new Set([
  'db/postgres-cluster.ts',
  'db/postgres-process.ts',
  'db/postgres-user.ts',
]);

test('no file or folder has a name that says nothing', () => {
  const empty = files.filter(({ file }) =>
    /(^|\/)(utils?|helpers?|common|misc|types|shared|index)(\.|\/)/.test(file),
  );
  assert.deepEqual(
    empty.map(({ file }) => file),
    [],
  );
});

test('no floats near money', () => {
  const floats = /\b(parseFloat|Math\.(round|floor|ceil))\b|\bNumber\(\s*\w*[mM]icros/;
  const wrong = files
    .filter(({ room }) => MONEY_ROOMS.includes(room))
    .flatMap(({ file, text }) =>
      text
        .split('\n')
        .flatMap((line, index) =>
          floats.test(line) && !/Ms\b/.test(line) ? [`${file}:${index + 1} ${line.trim()}`] : [],
        ),
    );
  assert.deepEqual(wrong, []);
});

test('what is due goes by the clock of the database, never by that of a process', () => {
  const clocks = /\bDate\.now\(|\bnew Date\(\)|\bclock\.now\(/;
  const wrong = files
    .filter(({ room, text }) => ROOMS_WITHOUT_CLOCK.includes(room) && clocks.test(text))
    .map(({ file }) => file);
  assert.deepEqual(wrong, []);
});

test('a file holds one idea, so it is short', () => {
  const long = files
    .map(({ file, text }) => ({ file, lines: text.split('\n').length }))
    .filter(({ lines }) => lines > LONGEST_FILE_LINES);
  assert.deepEqual(long, []);
});

function isTypeOnly(text: string, target: string): boolean {
  const name = target.split('/').pop() ?? '';
  return text
    .split(';')
    .filter((statement) => statement.includes(`/${name}'`))
    .every((statement) => /^\s*(import|export) type\b/.test(statement));
}

function importsOf(file: string, text: string): string[] {
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(
    (match) => match[1] ?? '',
  );
  return specifiers.map((specifier) => relative(SOURCE, join(SOURCE, dirname(file), specifier)));
}
