import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { publishProof } from '../../src/audit/proofs.ts';
import { createSigner } from '../../src/identity/signer.ts';
import { newSigningKeyPem, readSigningKey } from '../../src/identity/signing-key.ts';
import { startRestGateway, type Member, type RestGateway } from '../http/rest-gateway.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';
import { runSentinel, type Ran } from './run-sentinel.ts';

const INPUT = { text: 'one' };

let rest: RestGateway;
let seller: TestSeller;
let buyer: Member;
let directory: string;
let callId: string;
/** The chain of four receipts, as `export` prints it, a line each. */
let lines: string[];

before(async () => {
  rest = await startRestGateway();
  seller = await startSeller((input, _, response) =>
    input['text'] === 'bad' ? void response.writeHead(500).end() : { text: input['text'] },
  );
  directory = await mkdtemp(join(tmpdir(), 'sentinel-receipts-'));
  await rest.publish(manifestOf('cli', seller.url), 80);
  buyer = await rest.newMember('100');
  for (const text of ['one', 'two', 'bad', 'four']) {
    const { body } = await rest.send('POST', '/v1/agents/agt_cli_v1/invoke', {
      key: buyer.key,
      body: { inputs: { text } },
    });
    callId ??= body.call_id;
  }
  await write('jwks.json', (await rest.send('GET', '/.well-known/jwks.json')).text);
  const exported = await asBuyer('receipts', 'export');
  assert.equal(exported.code, 0, exported.stderr);
  lines = exported.stdout.trimEnd().split('\n');
  await write('all.jsonl', exported.stdout);
});
after(async () => {
  await rest.close();
  await seller.close();
  await rm(directory, { recursive: true });
});

const asBuyer = (...args: string[]): Promise<Ran> =>
  runSentinel(args, { SENTINEL_URL: rest.url, SENTINEL_API_KEY: buyer.key }, directory);
/** With nothing to ask: no key, no gateway. */
const verify = (...args: string[]): Promise<Ran> =>
  runSentinel(
    ['receipts', 'verify', '--jwks', 'jwks.json', ...args],
    { SENTINEL_URL: 'http://127.0.0.1:1' },
    directory,
  );
const write = (name: string, text: string): Promise<void> => writeFile(join(directory, name), text);

function assertRefused(ran: Ran, line: RegExp, sentence: RegExp): void {
  assert.equal(ran.code, 1);
  assert.match(ran.stdout, line);
  assert.match(ran.stderr, sentence);
  assert.equal(ran.stderr.trimEnd().split('\n').length, 1, ran.stderr);
}

test('a receipt that was fetched is checked without asking anyone, whichever answer carries it', async () => {
  const got = await asBuyer('receipts', 'get', callId, '--json');
  const receipt = got.json();
  assert.equal(receipt.call_id, callId);
  assert.match((await asBuyer('receipts', 'get', callId)).stdout, /^charged +5$/m);

  await write('receipt.json', JSON.stringify(receipt, null, 2));
  await write('receipt.jws', `${receipt.jws}\n`);
  await write('result.json', JSON.stringify({ content: [], _meta: { 'xyz.sentinel/receipt': receipt } }));
  const ran = await verify('receipt.json', 'receipt.jws', 'result.json');
  assert.equal(ran.code, 0, ran.stderr);
  const expected = new RegExp(
    `^ok    ${callId}  no\\. 1, live, agt_cli_v1, settled .*: 5 of 5 credits charged$`,
  );
  for (const line of ran.stdout.trimEnd().split('\n')) assert.match(line, expected);
  assert.equal(ran.stdout.trimEnd().split('\n').length, 3);

  const told = (await verify('receipt.jws', '--json')).json();
  const { jws: _, ...members } = receipt;
  assert.deepEqual([told.ok, told.receipts[0].receipt, told.chain], [true, members, null]);
});

test('without a key set of our own the gateway is asked for its keys, and one that is away is told', async () => {
  const asked = await asBuyer('receipts', 'verify', 'all.jsonl');
  assert.equal(asked.code, 0, asked.stderr);
  const byUrl = await runSentinel(
    ['receipts', 'verify', 'all.jsonl', '--jwks', `${rest.url}/.well-known/jwks.json`],
    { SENTINEL_URL: 'http://127.0.0.1:1' },
    directory,
  );
  assert.equal(byUrl.code, 0, byUrl.stderr);
  const away = await runSentinel(
    ['receipts', 'verify', 'all.jsonl'],
    { SENTINEL_URL: 'http://127.0.0.1:1' },
    directory,
  );
  assertRefused(away, /^$/, /No Sentinel answers .*--jwks FILE/);
});

test('an altered receipt fails with its own line, and the others are still told', async () => {
  const [first = '', second = '', ...rest_] = lines;
  const altered = second.replace('"charged":"5"', '"charged":"4"');
  await write('altered.jsonl', [first, altered, 'nonsense', ...rest_].join('\n'));
  const ran = await verify('altered.jsonl');
  assertRefused(
    ran,
    /^FAIL {2}altered\.jsonl:2: It shows "4" as "charged"/m,
    /^2 of 5 receipts cannot be trusted/,
  );
  assert.match(ran.stdout, /^FAIL {2}altered\.jsonl:3: It is not a compact JWS/m);
  assert.equal(ran.stdout.match(/^ok /gm)?.length, 3);
  assert.equal((await verify('altered.jsonl', '--json')).json().ok, false);
});

test('a whole chain is accepted; one with a receipt removed, moved, twice or cut off is not', async () => {
  const whole = await verify('all.jsonl', '--chain');
  assert.equal(whole.code, 0, whole.stderr);
  const head = /the chain is whole: 4 receipts, head ([0-9a-f]{64})$/m.exec(whole.stdout)?.[1] ?? '';
  assert.equal((await verify('all.jsonl', '--head', head)).code, 0);
  const page = await rest.send('GET', '/v1/billing/receipts?limit=1', { key: buyer.key });
  assert.equal(page.body.chain.head, head);

  const [a = '', b = '', c = '', d = ''] = lines;
  for (const [name, broken, why] of [
    ['removed', [a, c, d], /Receipt 2 of the chain is missing/],
    ['moved', [a, c, b, d], /in place 2 stands number 3 .* and number 2 in place 3/],
    ['reversed', [d, c, b, a], /out of order: in place 1 stands number 4 .* and number 1 in place 4/],
    ['twice', [a, b, b, c, d], /where 3 is due/],
    ['beheaded', [b, c, d], /Receipt 1 of the chain is missing/],
  ] as const) {
    await write(`${name}.jsonl`, broken.join('\n'));
    assert.equal((await verify(`${name}.jsonl`)).code, 0, 'each of them is genuine');
    assertRefused(await verify(`${name}.jsonl`, '--chain'), why, /the chain is not proven/);
  }
  await write('cut.jsonl', [a, b, c].join('\n'));
  assert.equal((await verify('cut.jsonl', '--chain')).code, 0, 'nothing in it says that there is more');
  assertRefused(await verify('cut.jsonl', '--head', head), /does not end where it should/, /not proven/);
});

test("a day's proof shows what was cut off behind it", async () => {
  const signing = readSigningKey(newSigningKeyPem());
  const { db } = rest.gateway.deps;
  const key = { keyId: signing.keyId, sign: createSigner(signing.privateKey) };
  await publishProof({ db, issuer: rest.url, key });
  const proof = await asBuyer('receipts', 'proof', '--json');
  assert.equal(proof.code, 0, proof.stderr);
  await write('proof.json', proof.stdout);
  assert.match((await asBuyer('receipts', 'proof')).stdout, /^Live credits sum to +0$/m);

  // The proof was signed with another key than the receipts: first the verifier does not know it.
  assertRefused(await verify('all.jsonl', '--proof', 'proof.json'), /not in the key set/, /not proven/);
  const { keys } = (await rest.send('GET', '/.well-known/jwks.json')).body;
  await write('both.json', JSON.stringify({ keys: [...keys, signing.publicJwk] }));
  const by = (...args: string[]): Promise<Ran> =>
    runSentinel(['receipts', 'verify', '--jwks', 'both.json', ...args], {}, directory);
  const good = await by('all.jsonl', '--proof', 'proof.json');
  assert.equal(good.code, 0, good.stdout);
  await write('cut.jsonl', lines.slice(0, 3).join('\n'));
  assertRefused(await by('cut.jsonl', '--proof', 'proof.json'), /by the proof there were 4/, /not proven/);
});

test('a receipt is checked against the arguments and the answer it is for', async () => {
  await write('one.json', lines[0] ?? '');
  await write('same.json', JSON.stringify(INPUT, null, 4));
  await write('other.json', '{"text":"two"}');
  assert.equal((await verify('one.json', '--input', 'same.json', '--output', 'same.json')).code, 0);
  assertRefused(await verify('one.json', '--input', 'other.json'), /another input/, /1 of 1/);
  assertRefused(await verify('one.json', '--output', 'other.json'), /another output/, /1 of 1/);
  await write('refund.json', lines[2] ?? '');
  assertRefused(await verify('refund.json', '--output', 'same.json'), /without a valid answer/, /1 of 1/);
  assertRefused(await verify('all.jsonl', '--input', 'same.json'), /^$/, /one receipt at a time/);
});

test('what is missing or not understood is one sentence', async () => {
  await write('empty', '');
  await write('broken.json', '{');
  assertRefused(await verify('nowhere.json'), /^$/, /nowhere\.json cannot be read/);
  assertRefused(await verify('empty'), /empty: There is no receipt in it/, /1 of 1/);
  assertRefused(await verify('broken.json'), /not complete JSON/, /1 of 1/);
  const keys = await asBuyer('receipts', 'verify', 'all.jsonl', '--jwks', 'broken.json');
  assertRefused(keys, /^$/, /not a JWK set/);
  assertRefused(await asBuyer('receipts', 'get', 'call_1'), /^$/, /no such receipt/);
  assert.equal((await verify()).code, 2);
});

test('whoever has no receipts is told so, and not in the file they are written to', async () => {
  const { key } = await rest.newMember('1');
  const exported = await runSentinel(
    ['receipts', 'export'],
    { SENTINEL_URL: rest.url, SENTINEL_API_KEY: key },
    directory,
  );
  assert.deepEqual([exported.code, exported.stdout], [0, '']);
  assert.match(exported.stderr, /no receipts in its currency.*SENTINEL_API_KEY/);
});
