import { gzipSync } from 'node:zlib';
import { MAX_ENVELOPE_BYTES } from '../../src/calls/payload-limit.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES } from '../../src/catalog/manifest-schema.ts';

/** One hostile request, and how it is refused. */
export type HostileRequest = {
  title: string;
  /** A text or bytes are sent as they are; anything else as JSON. */
  body: unknown;
  headers?: Record<string, string>;
  query?: string;
  /** The answer: HTTP status, and the code of the JSON-RPC error, the problem, or inside a tool result. */
  status: number;
  code?: number | string;
  message?: RegExp;
  id?: unknown;
};

export const CALL = {
  jsonrpc: '2.0',
  id: 1,
  method: 'tools/call',
  params: { name: 'sentinel_agt_echo_v1', arguments: { text: 'a' } },
};
/** What the endpoint takes where its most generous agent says nothing about it. */
export const MOST_BYTES = DEFAULT_MAX_PAYLOAD_BYTES + MAX_ENVELOPE_BYTES;

const CALL_TEXT = JSON.stringify(CALL);
export const params = (changes: object) => ({ ...CALL, params: { ...CALL.params, ...changes } });
const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
const withArguments = (text: string) => CALL_TEXT.replace('{"text":"a"}', text);

export const MODERN_META = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
  'io.modelcontextprotocol/clientCapabilities': {},
};
export const MODERN_CALL = params({ _meta: MODERN_META });
export const MODERN_HEADERS = {
  'mcp-protocol-version': '2026-07-28',
  'mcp-method': 'tools/call',
  'mcp-name': 'sentinel_agt_echo_v1',
};

export const HOSTILE: HostileRequest[] = [
  // P1: bodies that are no message
  { title: 'a truncated body', body: CALL_TEXT.slice(0, -5), status: 400, code: -32700, id: null },
  { title: 'an empty body', body: '', status: 400, code: -32700, id: null },
  { title: 'a blank body', body: '  \n', status: 400, code: -32700, id: null },
  { title: 'a byte order mark', body: `\ufeff${CALL_TEXT}`, status: 400, code: -32700, id: null },
  {
    title: 'UTF-16',
    body: Buffer.from(`\ufeff${CALL_TEXT}`, 'utf16le'),
    status: 400,
    code: -32700,
    id: null,
  },
  {
    title: 'bytes that are not UTF-8',
    body: Buffer.from(CALL_TEXT.replace('"a"', '"\u00ff"'), 'latin1'),
    status: 400,
    code: -32700,
  },
  { title: 'text after the message', body: `${CALL_TEXT}{}`, status: 400, code: -32700, id: null },
  { title: 'a scalar', body: '42', status: 400, code: -32600, id: null },
  { title: 'null', body: 'null', status: 400, code: -32600, id: null },
  // P2: ids
  { title: 'id null', body: { ...CALL, id: null }, status: 400, code: -32600, id: null },
  { title: 'an id that is an object', body: { ...CALL, id: {} }, status: 400, code: -32600, id: null },
  { title: 'a fractional id', body: { ...CALL, id: 1.5 }, status: 400, code: -32600, id: null },
  { title: 'id 1e400', body: CALL_TEXT.replace('"id":1', '"id":1e400'), status: 400, code: -32600, id: null },
  {
    title: 'an id of 1 MB',
    body: { ...CALL, id: 'x'.repeat(1_000_000) },
    status: 400,
    code: -32600,
    id: null,
  },
  { title: 'an id that is true', body: { ...CALL, id: true }, status: 400, code: -32600, id: null },
  // P3: batches
  { title: 'a batch of three', body: [CALL, CALL, CALL], status: 400, code: -32600, message: /batches/ },
  { title: 'an empty batch', body: [], status: 400, code: -32600, id: null },
  { title: 'a batch in a batch', body: [[CALL]], status: 400, code: -32600, id: null },
  // P4: duplicate members
  {
    title: 'a method named twice',
    body: CALL_TEXT.replace('{"jsonrpc"', '{"method":"ping","jsonrpc"'),
    status: 400,
    code: -32600,
    id: 1,
  },
  {
    title: 'a tool named twice',
    body: CALL_TEXT.replace('{"name"', '{"name":"other","name"'),
    status: 400,
    code: -32600,
  },
  {
    title: 'a member named twice in other escapes',
    body: CALL_TEXT.replace('{"name"', '{"n\\u0061me":"other","name"'),
    status: 400,
    code: -32600,
  },
  {
    title: 'an argument named twice',
    body: withArguments('{"text":"a","text":"b"}'),
    status: 400,
    code: -32600,
  },
  // P5: unknown and case-variant members
  { title: 'an unknown envelope member', body: { ...CALL, extra: 1 }, status: 400, code: -32600, id: 1 },
  { title: 'Method beside method', body: { ...CALL, Method: 'ping' }, status: 400, code: -32600, id: 1 },
  { title: 'Name beside name', body: params({ Name: 'other' }), status: 200, code: -32602, id: 1 },
  { title: 'ARGUMENTS beside arguments', body: params({ ARGUMENTS: {} }), status: 200, code: -32602, id: 1 },
  {
    title: 'a posted response',
    body: { jsonrpc: '2.0', id: 1, result: {} },
    status: 400,
    code: -32600,
    id: 1,
  },
  { title: 'jsonrpc 1.0', body: { ...CALL, jsonrpc: '1.0' }, status: 400, code: -32600, id: 1 },
  { title: 'no jsonrpc', body: { ...CALL, jsonrpc: undefined }, status: 400, code: -32600, id: 1 },
  { title: 'no method', body: { ...CALL, method: undefined }, status: 400, code: -32600, id: 1 },
  { title: 'a method that is a number', body: { ...CALL, method: 5 }, status: 400, code: -32600, id: 1 },
  { title: 'params that are an array', body: { ...CALL, params: [] }, status: 400, code: -32600, id: 1 },
  { title: 'arguments that are an array', body: params({ arguments: [] }), status: 200, code: -32602, id: 1 },
  { title: 'arguments that are null', body: params({ arguments: null }), status: 200, code: -32602, id: 1 },
  { title: 'a name that is a number', body: params({ name: 5 }), status: 200, code: -32602, id: 1 },
  { title: 'no name', body: params({ name: undefined }), status: 200, code: -32602, id: 1 },
  { title: '_meta that is a text', body: params({ _meta: 'x' }), status: 200, code: -32602, id: 1 },
  // P6: prototype names
  {
    title: '__proto__ in the envelope',
    body: CALL_TEXT.replace('{"jsonrpc"', '{"__proto__":{},"jsonrpc"'),
    status: 400,
    code: -32600,
  },
  {
    title: '__proto__ as an argument',
    body: withArguments('{"text":"a","__proto__":{"x":1}}'),
    status: 200,
    code: 'INVALID_INPUT',
  },
  {
    title: 'constructor as an argument',
    body: withArguments('{"text":"a","constructor":1}'),
    status: 200,
    code: 'INVALID_INPUT',
  },
  { title: 'constructor as a tool', body: params({ name: 'constructor' }), status: 200, code: 'NOT_FOUND' },
  { title: '__proto__ as a method', body: { ...CALL, method: '__proto__' }, status: 200, code: -32601 },
  // P7: size and shape
  {
    title: '50,000 levels',
    body: withArguments(`{"text":${nested(50_000)}}`),
    status: 400,
    code: -32600,
    id: null,
  },
  { title: '65 levels', body: withArguments(`{"text":${nested(62)}}`), status: 400, code: -32600, id: null },
  { title: '64 levels', body: withArguments(`{"text":${nested(61)}}`), status: 200, code: 'INVALID_INPUT' },
  {
    title: 'a hundred thousand and two elements',
    body: withArguments(`{"text":[${'0,'.repeat(100_001)}0]}`),
    status: 400,
    code: -32600,
  },
  // P8: bodies that are too large
  {
    title: 'one byte more than any agent takes',
    body: CALL_TEXT.padEnd(MOST_BYTES + 1),
    status: 413,
    code: -32000,
    id: null,
  },
  {
    title: 'a compressed body',
    body: gzipSync(CALL_TEXT),
    headers: { 'content-encoding': 'gzip' },
    status: 415,
    code: -32000,
    id: null,
  },
  // P9: text
  {
    title: 'a lone surrogate as a tool',
    body: CALL_TEXT.replace('sentinel_agt_echo_v1', '\\ud800'),
    status: 200,
    code: 'NOT_FOUND',
  },
  {
    title: 'NUL in a tool',
    body: params({ name: 'sentinel_agt_echo_v1\0' }),
    status: 200,
    code: 'NOT_FOUND',
  },
  {
    title: 'a homoglyph of a tool',
    body: params({ name: 'sentinel_agt_есho_v1' }),
    status: 200,
    code: 'NOT_FOUND',
  },
  {
    title: 'a tool in capitals',
    body: params({ name: 'SENTINEL_AGT_ECHO_V1' }),
    status: 200,
    code: 'NOT_FOUND',
  },
  {
    title: 'a tool name of 1 MB',
    body: params({ name: 'x'.repeat(1_000_000) }),
    status: 200,
    code: 'NOT_FOUND',
  },
  {
    title: 'arguments of the wrong type',
    body: params({ arguments: { text: 42 } }),
    status: 200,
    code: 'INVALID_INPUT',
  },
  {
    title: 'arguments that are missing',
    body: params({ arguments: undefined }),
    status: 200,
    code: 'INVALID_INPUT',
  },
  {
    title: 'arguments too many',
    body: params({ arguments: { text: 'a', more: 1 } }),
    status: 200,
    code: 'INVALID_INPUT',
  },
  // Content-Type and Accept
  { title: 'text/plain', body: CALL, headers: { 'content-type': 'text/plain' }, status: 415, code: -32000 },
  {
    title: 'JSON in Latin-1',
    body: CALL,
    headers: { 'content-type': 'application/json; charset=iso-8859-1' },
    status: 415,
    code: -32000,
  },
  {
    title: 'an Accept for pictures',
    body: CALL,
    headers: { accept: 'image/png' },
    status: 406,
    code: -32000,
  },
  // P11: headers that disagree with the body
  {
    title: 'a protocol version nobody knows',
    body: CALL,
    headers: { 'mcp-protocol-version': '1999-01-01' },
    status: 400,
    code: -32000,
  },
  {
    title: 'the modern version in the header only',
    body: CALL,
    headers: MODERN_HEADERS,
    status: 400,
    code: -32602,
    id: 1,
  },
  {
    title: 'the modern version in the body only',
    body: MODERN_CALL,
    headers: { 'mcp-method': 'tools/call', 'mcp-name': 'sentinel_agt_echo_v1' },
    status: 400,
    code: -32020,
    id: 1,
  },
  {
    title: 'another version in the header than in the body',
    body: MODERN_CALL,
    headers: { ...MODERN_HEADERS, 'mcp-protocol-version': '2025-11-25' },
    status: 400,
    code: -32020,
  },
  {
    title: 'another method in the header',
    body: MODERN_CALL,
    headers: { ...MODERN_HEADERS, 'mcp-method': 'tools/list' },
    status: 400,
    code: -32020,
  },
  {
    title: 'another tool in the header',
    body: MODERN_CALL,
    headers: { ...MODERN_HEADERS, 'mcp-name': 'sentinel_agt_cheap_v1' },
    status: 400,
    code: -32020,
  },
  {
    title: 'no tool in the header',
    body: MODERN_CALL,
    headers: { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call' },
    status: 400,
    code: -32020,
  },
  {
    title: 'a modern version that does not exist yet',
    body: params({ _meta: { ...MODERN_META, 'io.modelcontextprotocol/protocolVersion': '2030-01-01' } }),
    headers: { ...MODERN_HEADERS, 'mcp-protocol-version': '2030-01-01' },
    status: 400,
    code: -32022,
  },
  {
    title: 'a modern request without capabilities',
    body: params({ _meta: { ...MODERN_META, 'io.modelcontextprotocol/clientCapabilities': undefined } }),
    headers: MODERN_HEADERS,
    status: 400,
    code: -32602,
  },
  {
    title: 'an unknown modern method',
    body: { jsonrpc: '2.0', id: 1, method: 'nope', params: { _meta: MODERN_META } },
    headers: { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'nope' },
    status: 404,
    code: -32601,
  },
  // P12: forged reserved _meta
  {
    title: 'an idempotency key that is too short',
    body: params({ _meta: { 'xyz.sentinel/idempotency-key': 'short' } }),
    status: 200,
    code: 'INVALID_INPUT',
  },
  {
    title: 'two idempotency keys that differ',
    body: params({ _meta: { 'xyz.sentinel/idempotency-key': 'a'.repeat(16) } }),
    headers: { 'idempotency-key': 'b'.repeat(16) },
    status: 200,
    code: 'INVALID_INPUT',
  },
  {
    title: 'a negative limit',
    body: params({ _meta: { 'xyz.sentinel/max-credits': '-1' } }),
    status: 200,
    code: 'INVALID_INPUT',
  },
  {
    title: 'a limit that is a number',
    body: params({ _meta: { 'xyz.sentinel/max-credits': 5 } }),
    status: 200,
    code: 'INVALID_INPUT',
  },
  // A1: credentials
  { title: 'no key', body: CALL, headers: { authorization: '' }, status: 401, code: -32000 },
  { title: 'a blank key', body: CALL, headers: { authorization: 'Bearer ' }, status: 401, code: -32000 },
  {
    title: 'another scheme',
    body: CALL,
    headers: { authorization: 'Basic c2s6' },
    status: 401,
    code: -32000,
  },
  {
    title: 'a key nobody has',
    body: CALL,
    headers: { authorization: `Bearer sk_live_${'0'.repeat(40)}` },
    status: 401,
    code: -32000,
  },
  // A7: keys in the query
  { title: 'a key in the query', body: CALL, query: '?api_key=abc', status: 400, code: 'INVALID_INPUT' },
  {
    title: 'a key under another name',
    body: CALL,
    query: `?x=sk_live_${'0'.repeat(40)}`,
    status: 400,
    code: 'INVALID_INPUT',
  },
  // filters
  { title: 'a badge that does not exist', body: CALL, query: '?badge=gold', status: 400, code: -32602 },
  { title: 'a filter that does not exist', body: CALL, query: '?min_trust=90', status: 400, code: -32602 },
  {
    title: 'an agent below the trust filter',
    body: CALL,
    query: '?min_trust_score=90',
    status: 200,
    code: 'NOT_FOUND',
  },
  {
    title: 'an agent above the price filter',
    body: CALL,
    query: '?max_price=4',
    status: 200,
    code: 'NOT_FOUND',
  },
  {
    title: 'an agent that is not named',
    body: CALL,
    query: '?agents=agt_other_v1',
    status: 200,
    code: 'NOT_FOUND',
  },
  {
    title: 'an agent hidden by a filter, by way of sentinel_call',
    body: params({ name: 'sentinel_call', arguments: { agent_id: 'agt_echo_v1', arguments: { text: 'a' } } }),
    query: '?min_trust_score=90',
    status: 200,
    code: 'NOT_FOUND',
  },
  // a notification never runs anything
  { title: 'a call without an id', body: { ...CALL, id: undefined }, status: 202 },
];
