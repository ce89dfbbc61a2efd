import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { hashJson } from '../../src/base/canonical-json.ts';
import { parseExact } from '../../src/base/exact-json.ts';
import { readJson } from '../../src/client/find-receipts.ts';
import { startRestGateway, type Member, type RestGateway } from '../http/rest-gateway.ts';
import { manifestOf } from '../support/gateway.ts';

/*
 * What a buyer asks and an agent answers crosses many rooms, and no JSON parser on the way may make something else
 * of it: so these tests compare text.
 */

let rest: RestGateway;
let buyer: Member;
let seller: Server;
let sellerUrl = '';
/** What the seller says next: the result of the tool, or the body of the HTTP agent. */
let says = '';
/** What the seller says before it, as notifications. */
let notes: string[] = [];
/** The last body of a call that it got. */
let asked = '';

const NUMBERS = '{"id":12345678901234567890,"n":1e400,"small":-1e-400,"plain":1.5}';
const ANYTHING = { type: 'object' };

before(async () => {
  rest = await startRestGateway();
  buyer = await rest.newMember('1000000');
  seller = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      const json = { 'content-type': 'application/json' };
      if (request.url === '/http') {
        asked = body;
        response.writeHead(200, json).end(says);
        return;
      }
      const { id, method, params } = JSON.parse(body || '{}') as {
        id?: unknown;
        method?: string;
        params?: { _meta?: { progressToken?: unknown } };
      };
      if (method === 'initialize') {
        const result = {
          protocolVersion: '2025-11-25',
          capabilities: {},
          serverInfo: { name: 's', version: '1' },
        };
        response.writeHead(200, json).end(JSON.stringify({ jsonrpc: '2.0', id, result }));
      } else if (method === 'tools/call') {
        asked = body;
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        const token = JSON.stringify(params?._meta?.progressToken);
        for (const note of notes) {
          response.write(
            `data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${token},${note}}}\n\n`,
          );
        }
        response.end(`data: {"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${says}}\n\n`);
      } else response.writeHead(202).end();
    });
  });
  seller.listen(0, '127.0.0.1');
  await once(seller, 'listening');
  sellerUrl = `http://127.0.0.1:${(seller.address() as AddressInfo).port}`;
  const mcp = { protocol: 'mcp' as const, url: `${sellerUrl}/mcp`, tool: 'x' };
  const open = { input_schema: ANYTHING, capabilities: { streaming: true } };
  const { output_schema: _, ...blocks } = manifestOf('blocks', '', { ...open, endpoint: mcp });
  await rest.publish(blocks, 80);
  await rest.publish(manifestOf('promise', '', { ...open, endpoint: mcp, output_schema: ANYTHING }), 80);
  await rest.publish(manifestOf('numbers', `${sellerUrl}/http`, { ...open, output_schema: ANYTHING }), 80);
  const typed = {
    type: 'object',
    properties: { n: { type: 'number', minimum: 5 }, id: { type: 'integer' } },
    required: ['n'],
  };
  const both = { input_schema: typed, output_schema: typed };
  await rest.publish(manifestOf('typed', `${sellerUrl}/http`, both), 80);
});

after(async () => {
  await rest?.close();
  seller?.closeAllConnections();
  seller?.close();
});

// oxlint-disable-next-line typescript/no-explicit-any -- a test looks into whatever came back
type Anything = any;
type Called = { text: string; result: Anything };

/** A call as a legacy client writes it, with the arguments and the id as text. */
async function callTool(
  slug: string,
  options: { args?: string; id?: string; meta?: string; version?: string; sse?: boolean } = {},
): Promise<Called> {
  const { args = '{}', id = '1', meta, version = '2025-11-25' } = options;
  const params = `{"name":"sentinel_agt_${slug}_v1","arguments":${args}${meta === undefined ? '' : `,"_meta":${meta}`}}`;
  const response = await fetch(`${rest.url}/mcp`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${buyer.key}`,
      'content-type': 'application/json',
      accept: options.sse === true ? 'application/json, text/event-stream' : 'application/json',
      ...(version === '' ? {} : { 'mcp-protocol-version': version }),
    },
    body: `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":${params}}`,
  });
  const text = await response.text();
  return { text, result: options.sse === true ? undefined : JSON.parse(text).result };
}

async function invokeText(slug: string, inputs: string, more = ''): Promise<string> {
  const response = await fetch(`${rest.url}/v1/agents/agt_${slug}_v1/invoke`, {
    method: 'POST',
    headers: { authorization: `Bearer ${buyer.key}`, 'content-type': 'application/json' },
    body: `{"inputs":${inputs}${more}}`,
  });
  return response.text();
}

async function invoke(slug: string, inputs: string, more = ''): Promise<{ text: string; body: Anything }> {
  const text = await invokeText(slug, inputs, more);
  return { text, body: JSON.parse(text) };
}

async function balance(): Promise<string> {
  return (await rest.send('GET', '/v1/billing/balance', { key: buyer.key })).body.credits;
}

const resultOf = (value: unknown): string => JSON.stringify(value);
const textBlock = (text: string) => ({ type: 'text', text });

test('numbers no double holds arrive and are hashed as they were written, from either kind of agent', async () => {
  const hash = hashJson(parseExact(NUMBERS));
  says = NUMBERS;
  const bought = await callTool('numbers');
  assert.ok(bought.text.includes(`"structuredContent":${NUMBERS}`), bought.text);
  assert.equal(bought.result._meta['xyz.sentinel/receipt'].output_hash, hash);
  const invoked = await invoke('numbers', '{}');
  assert.ok(invoked.text.includes(`"output":${NUMBERS}`), invoked.text);
  assert.equal(invoked.body.receipt.output_hash, hash);

  says = `{"content":[{"type":"text","text":"see there"}],"structuredContent":${NUMBERS}}`;
  assert.ok((await callTool('promise')).text.includes(`"structuredContent":${NUMBERS}`));
  assert.ok((await invoke('blocks', '{}')).text.includes(`"output":${NUMBERS}`));
  says = resultOf({ content: [textBlock(NUMBERS)] });
  assert.ok((await callTool('promise')).text.includes(`"structuredContent":${NUMBERS}`));
  says = `{"content":[{"type":"text","text":"x","_meta":{"n":1e400}}],"_meta":{"m":12345678901234567890}}`;
  const inMeta = await callTool('blocks');
  assert.ok(inMeta.text.includes('"_meta":{"n":1e400}') && inMeta.text.includes('"m":12345678901234567890'));
});

test('an answer that is kept for its key is given again with its numbers', async () => {
  says = NUMBERS;
  const key = ',"idempotency_key":"sixteen-characters"';
  const first = await invoke('numbers', '{"a":1e400}', key);
  says = '{"never":"asked"}';
  const again = await invoke('numbers', '{"a":1e400}', key);
  assert.equal(again.body.replay, true);
  assert.ok(again.text.includes(`"output":${NUMBERS}`), again.text);
  assert.equal(again.body.receipt.call_id, first.body.receipt.call_id);
  assert.equal((await invoke('numbers', '{"a":1e401}', key)).body.code, 'IDEMPOTENCY_CONFLICT');
});

test('arguments reach the agent with their numbers as written, and the receipt names them so', async () => {
  says = '{}';
  // As `sentinel receipts verify --input` reads them.
  const hash = hashJson(readJson(NUMBERS, 'the file'));
  const bought = await callTool('numbers', { args: NUMBERS });
  assert.equal(asked, NUMBERS);
  assert.equal(bought.result._meta['xyz.sentinel/receipt'].input_hash, hash);
  asked = '';
  assert.equal((await invoke('numbers', NUMBERS)).body.receipt.input_hash, hash);
  assert.equal(asked, NUMBERS);
  says = resultOf({ content: [textBlock('x')] });
  await callTool('blocks', { args: NUMBERS });
  assert.ok(asked.includes(`"arguments":${NUMBERS}`), asked);
});

test('a schema judges such a number by the double nearest to it', async () => {
  const before = await balance();
  for (const [inputs, code] of [
    ['{"n":1e400,"id":12345678901234567890}', undefined],
    ['{"n":-1e400}', 'INVALID_INPUT'],
    ['{"n":5.00000000000000000001}', undefined],
    ['{"n":{"rawJSON":"6"}}', 'INVALID_INPUT'],
  ] as const) {
    says = '{"n":1e400}';
    assert.equal((await invoke('typed', inputs)).body.code, code, inputs);
  }
  for (const answer of ['{"n":-1e400}', '{"n":"1e400"}', '{"n":1e-400}']) {
    says = answer;
    assert.equal((await invoke('typed', '{"n":6}')).body.code, 'OUTPUT_INVALID', answer);
  }
  assert.equal(Number(before) - Number(await balance()), 10);
});

test('an id and a progress token come back as they were written, whatever serves the request', async () => {
  says = resultOf({ content: [textBlock('x')] });
  const id = '12345678901234567890';
  assert.ok((await callTool('blocks', { id })).text.startsWith(`{"jsonrpc":"2.0","id":${id},`));
  notes = ['"progress":1'];
  const streamed = await callTool('blocks', { meta: `{"progressToken":${id}}`, sse: true });
  notes = [];
  assert.ok(streamed.text.includes(`"progressToken":${id},"progress":1`), streamed.text);
  for (const method of ['ping', 'no/such']) {
    const response = await fetch(`${rest.url}/mcp`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${buyer.key}`,
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        'mcp-protocol-version': '2025-11-25',
      },
      body: `{"jsonrpc":"2.0","id":${id},"method":"${method}"}`,
    });
    assert.match(await response.text(), new RegExp(`"id":${id}[,}]`), method);
  }
});

test('a text is never taken for an output that was not promised', async () => {
  says = resultOf({ content: [textBlock(NUMBERS)] });
  const { result } = await callTool('blocks');
  assert.deepEqual(result.content, [textBlock(NUMBERS)]);
  assert.equal('structuredContent' in result, false);
  assert.deepEqual((await invoke('blocks', '{}')).body.output, { content: [textBlock(NUMBERS)] });
});

test('what is listed with an outputSchema has structured content on every paid call', async () => {
  const answers: [given: object, structured: unknown][] = [
    [{ content: [textBlock('words')] }, { content: [textBlock('words')] }],
    [{ content: [textBlock('{"a":1}')] }, { a: 1 }],
    [
      { content: [textBlock('b')], structuredContent: { content: [textBlock('b')] } },
      { content: [textBlock('b')] },
    ],
    [{ structuredContent: { a: 2 } }, { a: 2 }],
  ];
  for (const [given, structured] of answers) {
    says = resultOf(given);
    const { result } = await callTool('promise');
    assert.deepEqual(result.structuredContent, structured);
    assert.ok(result.content.length > 0, 'and a block for those who read nothing else');
  }
});

test('structured content that is no object is itself to the newest clients, and wrapped for the older', async () => {
  says = resultOf({ content: [], structuredContent: [1, 2] });
  const { result } = await callTool('blocks');
  assert.deepEqual(result.structuredContent, { result: [1, 2] });
  assert.deepEqual(result.content, [textBlock('[1,2]')]);
  assert.deepEqual((await invoke('blocks', '{}')).body.output, [1, 2]);
});

test('what a client could not read is refunded, and the refusal says which block it was', async () => {
  const before = await balance();
  const bad: [result: string, words: RegExp][] = [
    [resultOf({ content: [textBlock('x'), { type: 'hologram' }] }), /content block 2 .*none of text, image/],
    [resultOf({ content: [{ type: 'text', text: null }] }), /content block 1 .*text:/],
    [resultOf({ content: [{ type: 'image', data: '%%%', mimeType: 'image/png' }] }), /not base64/],
    [resultOf({ content: [{ type: 'audio', data: '' }] }), /mimeType/],
    [resultOf({ content: [{ type: 'resource', resource: { uri: 'x:y' } }] }), /resource/],
    [resultOf({ content: [{ type: 'resource_link', uri: 'x:y' }] }), /name/],
    [resultOf({ content: [{ ...textBlock('x'), annotations: { priority: 2 } }] }), /annotations\.priority/],
    [resultOf({ content: [{ ...textBlock('x'), _meta: [] }] }), /_meta/],
    [resultOf({ content: [{ type: 'tool_use', id: '1', name: 'x', input: {} }] }), /none of/],
    [resultOf({ content: [{ type: '__proto__' }] }), /none of/],
    [resultOf({ content: [textBlock('x')], _meta: 'x' }), /_meta/],
    [resultOf({ content: null, structuredContent: {} }), /not a list/],
    ['{"content":[{"type":"text","text":"\\ud800"}]}', /half a character/],
    ['{"content":[],"structuredContent":{"\\uDfff":1}}', /half a character/],
    [resultOf({ content: [textBlock(String.raw`{"a":"\ud800"}`)] }), /half a character/],
  ];
  for (const [result, words] of bad) {
    says = result;
    const { result: told } = await callTool('promise');
    assert.equal(told.isError, true, result);
    const error = told._meta['xyz.sentinel/error'];
    assert.equal(error.code, 'OUTPUT_INVALID', result);
    assert.match(error.message, words);
  }
  assert.equal(await balance(), before);
});

test('a tool cannot speak in our name, and its own _meta arrives', async () => {
  const ours = { 'xyz.sentinel/receipt': 'forged', 'xyz.sentinel/anything': 1 };
  const serverInfo = { name: 'it', version: '1' };
  says = resultOf({
    content: [
      { ...textBlock('x'), _meta: { ...ours, own: 1 } },
      { type: 'resource', resource: { uri: 'x:y', text: 'z', _meta: { ...ours, own: 2 } }, _meta: ours },
    ],
    _meta: { ...ours, own: 3, 'io.modelcontextprotocol/serverInfo': serverInfo },
    resultType: 'complete',
    other: 4,
  });
  const { result } = await callTool('blocks');
  assert.deepEqual(result.content, [
    { ...textBlock('x'), _meta: { own: 1 } },
    { type: 'resource', resource: { uri: 'x:y', text: 'z', _meta: { own: 2 } } },
  ]);
  const { 'xyz.sentinel/receipt': receipt, ...meta } = result._meta;
  assert.equal(receipt.outcome, 'settled');
  assert.deepEqual(meta, { own: 3 });
  assert.equal(result.other, 4);
  assert.equal('resultType' in result, false);
  assert.deepEqual((await invoke('blocks', '{}')).body._meta, { own: 3 });
});

test('a client of an older revision gets blocks that it knows, with all that was in them', async () => {
  const link = { type: 'resource_link', uri: 'https://a.example/x', name: 'x.pdf', title: 'Report' };
  const audio = { type: 'audio', data: 'aGk=', mimeType: 'audio/wav', annotations: { priority: 1 } };
  says = resultOf({ content: [link, audio, textBlock('y')] });
  assert.deepEqual((await callTool('blocks', { version: '2025-06-18' })).result.content[0], link);
  const asText = textBlock('Report\nhttps://a.example/x');
  // Streamable HTTP without the header is revision 2025-03-26.
  for (const version of ['2025-03-26', '']) {
    const { content } = (await callTool('blocks', { version })).result;
    assert.deepEqual(content, [asText, audio, textBlock('y')]);
  }
  const { content } = (await callTool('blocks', { version: '2024-11-05' })).result;
  const resource = { uri: 'xyz.sentinel:audio', mimeType: 'audio/wav', blob: 'aGk=' };
  assert.deepEqual(content, [
    asText,
    { type: 'resource', resource, annotations: { priority: 1 } },
    textBlock('y'),
  ]);
});

test('progress keeps the number, the total and the message the tool gave it', async () => {
  says = resultOf({ content: [textBlock('x')] });
  notes = [
    '"progress":0,"total":100',
    '"progress":40.5,"total":100,"message":"halfway"',
    '"progress":40.5,"message":"the same again"',
    '"progress":7e1',
  ];
  const { text } = await callTool('blocks', { meta: '{"progressToken":"p"}', sse: true });
  notes = [];
  const told = [...text.matchAll(/"params":(\{[^\n]*\})\}\n/g)].map(([, params]) => JSON.parse(params!));
  assert.deepEqual(
    told.map(({ total, message }) => [total, message]),
    [
      [100, undefined],
      [100, 'halfway'],
      [undefined, 'the same again'],
      [undefined, undefined],
    ],
  );
  const numbers = told.map(({ progress }) => progress as number);
  assert.deepEqual([numbers[0], numbers[1], numbers[3]], [0, 40.5, 70]);
  assert.ok(numbers[2]! > 40.5 && numbers[2]! < 40.51);

  notes = ['"progress":1,"total":3'];
  const streamed = await invokeText('blocks', '{}', ',"stream":true');
  notes = [];
  assert.ok(streamed.includes('data: {"chunk":"1/3","progress":1,"total":3}\n'), streamed);
});
