import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  manifestOf,
  startSeller,
  startTestGateway,
  type Buyer,
  type TestGateway,
  type TestSeller,
} from '../support/gateway.ts';

const TOOL = 'sentinel_agt_named_v1';
let gateway: TestGateway;
let seller: TestSeller;
let buyer: Buyer;
before(async () => {
  seller = await startSeller(({ text }) => ({ text }));
  gateway = await startTestGateway();
  await gateway.publish(manifestOf('named', seller.url));
  buyer = await gateway.newBuyer('10000');
});
after(async () => {
  await gateway?.close();
  await seller?.close();
});

// oxlint-disable-next-line typescript/no-explicit-any -- a test looks into whatever came back
async function ask(name: string, args: object, meta: object = {}, headers: object = {}): Promise<any> {
  const response = await fetch(gateway.url, {
    method: 'POST',
    headers: { ...buyer.headers, 'content-type': 'application/json', accept: 'application/json', ...headers },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name, arguments: args, _meta: meta },
    }),
  });
  return ((await response.json()) as { result: unknown }).result;
}

const session = (value: unknown): object => ({ 'xyz.sentinel/session': value });
const caller = (value: unknown): object => ({ 'xyz.sentinel/caller': value });
const LONGEST = 'x'.repeat(128);

const NAMED: [title: string, meta: object, headers: object, session: string | null, caller: string | null][] =
  [
    ['nothing', {}, {}, null, null],
    ['both in _meta', { ...session('run 7'), ...caller('mia@acme') }, {}, 'run 7', 'mia@acme'],
    [
      'both in headers',
      {},
      { 'x-sentinel-session': 'run-8', 'x-sentinel-caller': 'agent:9' },
      'run-8',
      'agent:9',
    ],
    ['one of each', caller('mia'), { 'x-sentinel-session': 'run-9' }, 'run-9', 'mia'],
    ['the same twice', session('run-1'), { 'x-sentinel-session': 'run-1' }, 'run-1', null],
    ['as many characters as there may be', session(LONGEST), {}, LONGEST, null],
    ['only the connection', {}, { 'mcp-session-id': '1868a90c' }, '1868a90c', null],
    ['a session and the connection', session('run-2'), { 'mcp-session-id': '1868a90c' }, 'run-2', null],
    ['a connection too long to be kept', {}, { 'mcp-session-id': `${LONGEST}x` }, null, null],
  ];
for (const [title, meta, headers, wanted, actingFor] of NAMED) {
  for (const tool of [TOOL, 'sentinel_call']) {
    test(`a call with ${title} is recorded so, by ${tool}`, async () => {
      const args = tool === TOOL ? { text: 'x' } : { agent_id: 'agt_named_v1', arguments: { text: 'x' } };
      const { call_id } = (await ask(tool, args, meta, headers))._meta['xyz.sentinel/receipt'];
      const { structuredContent: call } = await ask('sentinel_get_call', { call_id });
      assert.deepEqual([call.session, call.caller], [wanted, actingFor]);
    });
  }
}

const REFUSED: [title: string, meta: object, headers: object, words: RegExp][] = [
  ['an empty session', session(''), {}, /_meta\["xyz\.sentinel\/session"\] must be 1 to 128/],
  ['a session that is too long', session(`${LONGEST}x`), {}, /must be 1 to 128 printable ASCII/],
  ['a session that is no text', session(7), {}, /must be 1 to 128 printable ASCII/],
  ['a caller with a line break', caller('mia\nadmin'), {}, /_meta\["xyz\.sentinel\/caller"\] must be/],
  ['a caller beyond ASCII', caller('mía'), {}, /must be 1 to 128 printable ASCII/],
  [
    'a header that is too long',
    {},
    { 'x-sentinel-caller': `${LONGEST}x` },
    /header X-Sentinel-Caller must be/,
  ],
  [
    'two sessions',
    session('a'),
    { 'x-sentinel-session': 'b' },
    /says something else than the header X-Sentinel-Session/,
  ],
];
for (const [title, meta, headers, words] of REFUSED) {
  test(`${title} is refused, and nothing is paid`, async () => {
    const before = seller.requests;
    const error = (await ask(TOOL, { text: 'x' }, meta, headers))._meta['xyz.sentinel/error'];
    assert.equal(error.code, 'INVALID_INPUT');
    assert.match(error.message, words);
    assert.equal(seller.requests, before);
  });
}
