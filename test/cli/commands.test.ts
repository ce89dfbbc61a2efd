import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startRestGateway, type RestGateway } from '../http/rest-gateway.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import { runSentinel, type Ran } from './run-sentinel.ts';

let rest: RestGateway;
let seller: TestSeller;
/** A data directory as `serve` keeps it. */
let data: string;

before(async () => {
  rest = await startRestGateway();
  seller = await startSeller((input) => ({ text: input['text'] }));
  data = await mkdtemp(join(tmpdir(), 'sentinel-cli-'));
  await writeFile(join(data, 'operator-key'), `${rest.operator.key}\n`, { mode: 0o600 });
  await writeFile(join(data, 'url'), `${rest.url}\n`);
});
after(async () => {
  await rest.close();
  await seller.close();
  await rm(data, { recursive: true });
});

const sentinel = (...args: string[]): Promise<Ran> => runSentinel(args, { SENTINEL_DATA: data });

async function writeManifest(manifest: unknown): Promise<string> {
  const file = join(data, 'manifest.json');
  await writeFile(file, typeof manifest === 'string' ? manifest : JSON.stringify(manifest));
  return file;
}

/** What a person reads when it failed: one line, and no trace of the inside. */
function assertFailed(ran: Ran, expected: RegExp): void {
  assert.notEqual(ran.code, 0);
  assert.equal(ran.stdout, '');
  assert.match(ran.stderr, expected);
  assert.equal(ran.stderr.trimEnd().split('\n').length, 1, ran.stderr);
  assert.doesNotMatch(ran.stderr, / at .*\.ts:\d/);
}

test('the fixed forms lead from nothing to a paid call', async () => {
  const org = await sentinel('orgs', 'create', 'Acme', '--json');
  assert.equal(org.code, 0, org.stderr);
  assert.deepEqual(Object.keys(org.json()), ['id']);
  const { id } = org.json();

  const granted = await sentinel('credits', 'grant', id, '100', '--json');
  assert.deepEqual(granted.json(), { balance: '100' });

  const key = await sentinel('keys', 'create', '--org', id, '--cap-day', '50', '--name', 'ci', '--json');
  assert.deepEqual(Object.keys(key.json()), ['id', 'key']);
  assert.match(key.json().key, /^sk_live_/);

  const file = await writeManifest(manifestOf('cli', seller.url));
  const published = await sentinel('agents', 'publish', file, '--org', rest.sellerId, '--json');
  assert.deepEqual(published.json(), { agent_id: 'agt_cli_v1', version: '1.0.0' });

  const verified = await sentinel('agents', 'verify', 'agt_cli_v1', '--score', '91', '--json');
  assert.deepEqual(verified.json(), { agent_id: 'agt_cli_v1', trust_score: 91, badge: 'premium' });

  const paid = await rest.send('POST', '/v1/agents/agt_cli_v1/invoke', {
    key: key.json().key,
    body: { inputs: { text: 'hi' } },
  });
  assert.equal(paid.status, 200);

  const shown = await sentinel('calls', 'show', paid.body.call_id, '--json');
  assert.deepEqual([shown.json().outcome, shown.json().charged], ['settled', '5']);
  const listed = await sentinel('calls', 'list', '--agent', 'agt_cli_v1');
  assert.match(listed.stdout, /^ID +ENDED +AGENT +OUTCOME/);
  assert.match(listed.stdout, new RegExp(`${paid.body.call_id}.*settled`));
});

test('test keys and test credits are asked for by name', async () => {
  const { id } = (await sentinel('orgs', 'create', 'Tester', '--json')).json();
  const key = (await sentinel('keys', 'create', '--org', id, '--test', '--json')).json();
  assert.match(key.key, /^sk_test_/);
  assert.deepEqual((await sentinel('credits', 'grant', id, '12.5', '--test', '--json')).json(), {
    balance: '12.5',
  });
});

test('a new key is shown once, with a word about keeping it', async () => {
  const created = await sentinel('keys', 'create', '--org', rest.sellerId);
  const [key = '', hint] = created.stdout.trim().split('\n');
  assert.match(key, /^sk_live_[0-9a-f]{40}$/);
  assert.match(hint ?? '', /cannot be shown again/);
  const listed = await sentinel('keys', 'list', '--org', rest.sellerId);
  assert.match(listed.stdout, new RegExp(`sk_live_…${key.slice(-4)}`));
  assert.ok(!listed.stdout.includes(key));
});

test('a revoked key is listed as such', async () => {
  const { id } = (await sentinel('keys', 'create', '--org', rest.sellerId, '--json')).json();
  assert.equal((await sentinel('keys', 'revoke', id)).stdout, `${id} is revoked.\n`);
  const { items } = (await sentinel('keys', 'list', '--json')).json();
  assert.ok(items.find((each: { id: string }) => each.id === id).revoked_at);
});

test('a manifest with faults prints each as path and message, one a line', async () => {
  const file = await writeManifest({ ...manifestOf('bad', seller.url), category: 'cats', colour: 'red' });
  const ran = await sentinel('agents', 'publish', file, '--org', rest.sellerId);
  assert.equal(ran.code, 1);
  const lines = ran.stderr.trimEnd().split('\n');
  const places = lines.map((line) => line.split(': ')[0] ?? '');
  assert.deepEqual(new Set(places), new Set(['/category', '/colour']));
  assert.equal(places.length, 2);
});

test('what publishing warns of stands beside the answer for people, and in it for scripts', async () => {
  const endpoint = { protocol: 'http' as const, url: 'http://127.0.0.1:1/' };
  const file = await writeManifest(manifestOf('doubtful', seller.url, { endpoint }));
  const told = await sentinel('agents', 'publish', file, '--org', rest.sellerId);
  assert.equal(told.code, 0);
  assert.equal(told.stdout, 'agt_doubtful_v1 1.0.0 is published.\n');
  assert.match(told.stderr, /^Warning: \/endpoint\/url could not be reached: .*\n$/);
  const { warnings } = (await sentinel('agents', 'publish', file, '--org', rest.sellerId, '--json')).json();
  assert.deepEqual(
    warnings.map(({ path }: { path: string }) => path),
    ['/endpoint/url'],
  );
});

test('agents are listed, shown, suspended and resumed', async () => {
  await rest.publish(manifestOf('tidy', seller.url, { display_name: 'Tidy' }), 60);
  assert.match((await sentinel('agents', 'list')).stdout, /agt_tidy_v1 +1\.0\.0 +verified +60 +basic/);
  assert.equal((await sentinel('agents', 'suspend', 'agt_tidy_v1')).stdout, 'agt_tidy_v1 is suspended.\n');
  assert.match((await sentinel('agents', 'show', 'agt_tidy_v1')).stdout, /^Status +suspended$/m);
  assert.equal((await sentinel('agents', 'resume', 'agt_tidy_v1')).stdout, 'agt_tidy_v1 is verified.\n');
});

test('what a stranger named cannot drive the terminal', async () => {
  await rest.send('POST', '/v1/orgs', { key: rest.operator.key, body: { name: 'a\u001b[2Jb' } });
  const { stdout } = await sentinel('orgs', 'list');
  assert.ok(stdout.includes('a?[2Jb'));
  assert.ok(!stdout.includes('\u001b'));
});

test('status and doctor find the gateway well', async () => {
  assert.match((await sentinel('status')).stdout, /^Database +[\d.]+ ms$/m);
  assert.equal((await sentinel('status', '--json')).json().limits, 'local');
  const doctor = await sentinel('doctor', '--json');
  assert.equal(doctor.code, 0, doctor.stdout);
  const names = doctor.json().checks.map(({ name }: { name: string }) => name);
  assert.deepEqual(names, ['node', 'key file', 'gateway', 'ready', 'key', 'gateway clock', 'clock']);
});

test('doctor says what is wrong, and what to do', async () => {
  await chmod(join(data, 'operator-key'), 0o644);
  const readable = await sentinel('doctor');
  assert.equal(readable.code, 1);
  assert.match(readable.stdout, /^fail +key file .*chmod 600/m);
  assert.match(readable.stderr, /Not everything is well: key file/);
  await chmod(join(data, 'operator-key'), 0o600);

  const wrong = await runSentinel(['doctor'], { SENTINEL_URL: rest.url, SENTINEL_API_KEY: 'sk_live_x' });
  assert.equal(wrong.code, 1);
  assert.match(wrong.stdout, /^fail +key +This API key is not valid/m);
  const buyer = await rest.newMember();
  const well = await runSentinel(['doctor'], { SENTINEL_URL: rest.url, SENTINEL_API_KEY: buyer.key });
  assert.equal(well.code, 0, well.stdout);
});

test('where no gateway runs, every command says so and how to start one', async () => {
  const away = { SENTINEL_URL: 'http://127.0.0.1:9', SENTINEL_API_KEY: rest.operator.key };
  for (const args of [['status'], ['orgs', 'list', '--json'], ['calls', 'show', 'call_x']]) {
    const ran = await runSentinel(args, away);
    assertFailed(ran, /^No Sentinel answers at http:\/\/127\.0\.0\.1:9\. Start it with: npm start$/m);
  }
});

test('what answers but is no Sentinel is not taken for one', async () => {
  const environment = { SENTINEL_URL: new URL(seller.url).origin, SENTINEL_API_KEY: rest.operator.key };
  const ran = await runSentinel(['orgs', 'create', 'x'], environment);
  assertFailed(ran, /^No Sentinel answers at/);
});

test("the operator's kept key is never sent to another gateway", async () => {
  const other = await startRestGateway();
  try {
    const ran = await runSentinel(['status'], { SENTINEL_DATA: data, SENTINEL_URL: other.url });
    assertFailed(ran, /^No key for http.*set SENTINEL_API_KEY/);
  } finally {
    await other.close();
  }
});

const MISTAKES: [args: string[], expected: RegExp][] = [
  [['agnets', 'list'], /unknown command 'agnets' \(Did you mean agents\?\)/],
  [['agents', 'lst'], /unknown command 'lst' \(Did you mean list\?\)/],
  [['status', '--jsn'], /unknown option '--jsn' \(Did you mean --json\?\)/],
  [['status', 'now'], /too many arguments/],
  [['orgs', 'create'], /missing required argument 'name'/],
  [['keys', 'create'], /required option '--org <org>' not specified/],
  [['agents', 'verify', 'agt_x_v1', '--score', 'high'], /whole number from 0 to 100/],
  [['agents', 'verify', 'agt_none_v1', '--score', '50'], /There is no agent agt_none_v1/],
  [['agents', 'publish', '/no/such/file.json'], /There is no file \/no\/such\/file\.json\./],
  [['keys', 'create', '--org', 'org_none'], /There is no organization org_none\./],
  [['keys', 'create', '--org', 'org_x', '--scopes', 'root'], /scopes\.0 must be one of/],
  [['keys', 'create', '--org', 'org_x', '--cap-day', 'ten'], /cap_day must be an amount of credits/],
  [['credits', 'grant', 'org_x', '0'], /amount must be more than 0/],
  [['calls', 'show', 'call_none'], /There is no such call here\./],
  [['calls', 'list', '--outcome', 'lost'], /outcome must be one of/],
];
for (const [args, expected] of MISTAKES) {
  test(`sentinel ${args.join(' ')} fails with one sentence`, async () => {
    assertFailed(await sentinel(...args), expected);
  });
}

test('a file that is not JSON is told as such', async () => {
  assertFailed(await sentinel('agents', 'publish', await writeManifest('{ no')), /is not valid JSON/);
});

test('a key that may not is told which scope it lacks', async () => {
  const buyer = await rest.newMember();
  const ran = await runSentinel(['orgs', 'list'], { SENTINEL_URL: rest.url, SENTINEL_API_KEY: buyer.key });
  assertFailed(ran, /lacks the scope operator/);
});

test('every command explains itself with an example', async () => {
  const top = await sentinel('--help');
  assert.equal(top.code, 0);
  for (const noun of ['serve', 'migrate', 'doctor', 'status', 'agents', 'keys', 'credits', 'orgs', 'calls']) {
    assert.match(top.stdout, new RegExp(`^  ${noun}\\b`, 'm'));
  }
  for (const args of [['serve'], ['migrate'], ['keys', 'create'], ['agents', 'publish'], ['doctor']]) {
    const { code, stdout } = await sentinel(...args, '--help');
    assert.equal(code, 0);
    assert.match(stdout, /Examples:\n {2}\$ /);
  }
});
