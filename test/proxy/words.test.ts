import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startSessionGateway, startStatelessGateway } from './gateways.ts';
import { KEY, call, initialize, runProxy, startRawHost } from './raw-host.ts';

const timeout = 30_000;

const REFUSED: [string, Record<string, string>, RegExp][] = [
  ['no key', { SENTINEL_API_KEY: '' }, /SENTINEL_API_KEY is not set. Add it to the env block of this server/],
  ['a placeholder for a key', { SENTINEL_API_KEY: '${SENTINEL_API_KEY}' }, /placeholder/],
  ["someone else's key", { SENTINEL_API_KEY: 'sk-proj-abcdefgh12345678' }, /does not hold a Sentinel key/],
  ['a key in quotes', { SENTINEL_API_KEY: `"${KEY}"` }, /no spaces or quotes/],
  ['clear text to another machine', { SENTINEL_URL: 'http://gateway.example/mcp' }, /clear text/],
  ['a key in the URL', { SENTINEL_URL: `https://gateway.example/mcp?key=${KEY}` }, /contains a credential/],
  ['a password in the URL', { SENTINEL_URL: 'https://me:pw@gateway.example/mcp' }, /contains a credential/],
  ['another protocol', { SENTINEL_URL: 'ftp://gateway.example/mcp' }, /https:\/\//],
  ['no URL at all', { SENTINEL_URL: 'gateway' }, /is not a URL/],
];

for (const [what, env, words] of REFUSED) {
  test(`${what}: said on stderr and to the host's first request, and exit code 1`, { timeout }, async (t) => {
    const host = startRawHost(env);
    t.after(() => host.child.kill('SIGKILL'));
    host.send(initialize(1));
    assert.match((await host.answer(1)).error?.message ?? '', words);
    host.send(call(2, 'echo'));
    assert.match((await host.answer(2)).error?.message ?? '', words);
    assert.equal(await host.end(), 1);
    assert.match(host.stderr(), words);
    assert.doesNotMatch(host.output(), /0123456789abcdef|proj-abcdefgh|me:pw/);
  });
}

test(
  'a key the gateway refuses is said in words a person can act on, without the key',
  { timeout },
  async (t) => {
    const gateway = await startStatelessGateway();
    t.after(gateway.close);
    const wrong = 'sk_live_ffffffffffffffffffffffff';
    const host = startRawHost({ SENTINEL_URL: gateway.url, SENTINEL_API_KEY: wrong });
    t.after(() => host.child.kill('SIGKILL'));
    host.send(initialize(1));
    const { error } = await host.answer(1);
    assert.match(error?.message ?? '', /refused the API key \(HTTP 401.*SENTINEL_API_KEY.*doctor/);
    assert.equal(error?.data?.['code'], 'UNAUTHENTICATED');
    await host.end();
    assert.ok(!host.output().includes(wrong));
    assert.equal(gateway.seen[0]?.headers.get('authorization'), `Bearer ${wrong}`);
  },
);

const COMMAND_LINES: [string[], number, RegExp][] = [
  [['--help'], 0, /SENTINEL_API_KEY/],
  [['--version'], 0, /^\d+\.\d+\.\d+\n$/],
  [['--verbose'], 2, /Unknown option '--verbose'/],
  [['serve'], 2, /Unknown argument: serve/],
  [['--json'], 2, /doctor --json/],
  [['--key', 'secret-value'], 2, /never taken from the command line/],
  [['--api-key=secret-value'], 2, /never taken from the command line/],
  [['--token', 'secret-value'], 2, /never taken from the command line/],
  [['--header', 'Authorization: secret-value'], 2, /never taken from the command line/],
  [[KEY], 2, /never taken from the command line/],
];

for (const [args, code, words] of COMMAND_LINES) {
  test(
    `mcp-proxy ${args.map((arg) => (arg === KEY ? '<a key>' : arg)).join(' ')}: exit code ${code}`,
    { timeout },
    async () => {
      const { code: exitCode, stdout, stderr } = await runProxy(args);
      assert.equal(exitCode, code);
      assert.match(stdout + stderr, words);
      assert.doesNotMatch(stdout + stderr, /secret-value|0123456789abcdef/);
    },
  );
}

test('doctor finds a healthy set-up healthy, in both eras of the protocol', { timeout }, async (t) => {
  for (const [start, version] of [
    [startStatelessGateway, '2026-07-28'],
    [startSessionGateway, '2025-11-25'],
  ] as const) {
    const gateway = await start();
    t.after(gateway.close);
    const { code, report } = await doctor({ SENTINEL_URL: gateway.url });
    assert.equal(code, 0);
    assert.equal(report.ok, true);
    const details = Object.fromEntries(report.checks.map(({ name, detail }) => [name, detail]));
    assert.equal(details['API key'], 'sk_test_…stuv');
    assert.equal(details['Protocol'], version);
    assert.match(details['Tools'] ?? '', /^5 \(about \d+ tokens/);
    assert.equal(details['Prices'], 'from 3 to 5 credits a call');
    assert.equal(details['Clock'], 'in step with the gateway');
  }
});

test('doctor names what is wrong and ends with exit code 1', { timeout }, async (t) => {
  const gateway = await startStatelessGateway();
  t.after(gateway.close);
  const faults: [Record<string, string>, string, RegExp][] = [
    [{ SENTINEL_API_KEY: '' }, 'API key', /not set/],
    [{ SENTINEL_URL: 'http://gateway.example' }, 'Gateway URL', /clear text/],
    [{ SENTINEL_URL: 'http://127.0.0.1:1/mcp' }, 'Reachable', /refused/],
    [
      { SENTINEL_URL: gateway.url, SENTINEL_API_KEY: 'sk_live_ffffffffffffffffffffffff' },
      'Key accepted',
      /HTTP 401/,
    ],
  ];
  for (const [env, name, words] of faults) {
    const { code, report, output } = await doctor(env);
    assert.equal(code, 1);
    assert.equal(report.ok, false);
    const failed = report.checks.filter(({ status }) => status === 'failed');
    assert.deepEqual(
      failed.map((check) => check.name),
      [name],
    );
    assert.match(failed[0]?.detail ?? '', words);
    assert.doesNotMatch(output, /ffffffffffffffff|0123456789abcdef/);
  }
});

type Report = { ok: boolean; checks: { name: string; status: string; detail: string }[] };

async function doctor(
  env: Record<string, string>,
): Promise<{ code: number | null; report: Report; output: string }> {
  const { code, stdout, stderr } = await runProxy(['doctor', '--json'], env);
  return { code, report: JSON.parse(stdout) as Report, output: stdout + stderr };
}
