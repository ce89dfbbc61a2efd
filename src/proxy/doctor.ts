import { type Json, type JsonObject, isJsonObject } from '../base/json.ts';
import { formatCredits, parseCredits } from '../base/money.ts';
import { readAnswer } from './answer.ts';
import { type Gateway, type Reply, connectGateway } from './gateway.ts';
import { maskKey, redact } from './redact.ts';
import { sessionIdOf } from './session.ts';
import { readKey, readUrl } from './settings.ts';
import { rememberToolHeaders } from './tool-headers.ts';
import { refuseStatus, refuseUnavailable, showUrl } from './words.ts';

export type Check = { name: string; status: 'ok' | 'warning' | 'failed' | 'skipped'; detail: string };

const OLDEST_NODE = 20;
const STATELESS_VERSION = '2026-07-28';
const SESSION_VERSION = '2025-11-25';
const TIMEOUT_MS = 10_000;
const TOLERATED_SKEW_MS = 120_000;
const MAX_PAGES = 100;

/** Walks the way a host's first call takes and says, step by step, whether it is clear. */
export async function examine(env: NodeJS.ProcessEnv, userAgent: string): Promise<Check[]> {
  const checks: Check[] = [checkNode(process.versions.node)];
  const key = readKey(env['SENTINEL_API_KEY']);
  const url = readUrl(env['SENTINEL_URL']);
  checks.push(key.kind === 'ready' ? ok('API key', maskKey(key.key)) : failed('API key', key.words));
  checks.push(
    url.kind === 'ready' ? ok('Gateway URL', redact(url.url.href)) : failed('Gateway URL', url.words),
  );
  if (key.kind === 'refused' || url.kind === 'refused') {
    return [...checks, { name: 'Gateway', status: 'skipped', detail: 'needs the key and the URL' }];
  }
  const gateway = await connectGateway(url.url, key.key, userAgent);
  try {
    return [...checks, ...(await examineGateway(gateway, url.url))];
  } finally {
    gateway.close();
  }
}

function checkNode(version: string): Check {
  const good = Number.parseInt(version, 10) >= OLDEST_NODE;
  return good
    ? ok('Node.js', `v${version}`)
    : failed('Node.js', `v${version} is too old: install ${OLDEST_NODE} or newer`);
}

async function examineGateway(gateway: Gateway, url: URL): Promise<Check[]> {
  const startedAt = performance.now();
  const probe = await ask(gateway, 'server/discover', {}, { era: 'stateless' });
  if (probe.kind === 'lost') return [failed('Reachable', refuseUnavailable(url, probe.cause, 0).message)];
  const checks = [ok('Reachable', `${showUrl(url)} in ${Math.round(performance.now() - startedAt)} ms`)];
  checks.push(checkClock(probe.headers.date));

  const accepted = probe.kind === 'stream' || (probe.status !== 401 && probe.status !== 403);
  if (!accepted)
    return [
      ...checks,
      failed('Key accepted', refuseStatus(url, probe.status, probe.headers, probe.text).message),
    ];
  // Before the gateway has spoken MCP, an accepted key is only a guess: a foreign page accepts any.
  const era = await negotiate(gateway, probe);
  if (era === undefined) {
    const status =
      probe.kind === 'text'
        ? refuseStatus(url, probe.status, probe.headers, probe.text).message
        : 'it does not speak MCP';
    return [...checks, failed('Protocol', status)];
  }
  checks.push(ok('Key accepted', 'yes'), ok('Protocol', era.version));

  const tools = await listTools(gateway, era);
  if (tools === undefined) return [...checks, failed('Tools', 'the gateway did not list its tools')];
  return [...checks, checkTools(tools), checkPrices(tools)];
}

type Era = { version: string } & ({ era: 'stateless' } | { era: 'session'; headers: Record<string, string> });

/** 2026-07-28 when the gateway speaks it, the handshake of the older revisions otherwise. */
async function negotiate(gateway: Gateway, probe: Reply): Promise<Era | undefined> {
  const discovered = (await readAnswer(probe))?.['result'];
  const versions = isJsonObject(discovered) ? discovered['supportedVersions'] : undefined;
  if (Array.isArray(versions) && versions.includes(STATELESS_VERSION))
    return { era: 'stateless', version: STATELESS_VERSION };

  const hello = { protocolVersion: SESSION_VERSION, capabilities: {}, clientInfo: CLIENT };
  const reply = await ask(gateway, 'initialize', hello, { era: 'session', headers: {} });
  const agreed = (await readAnswer(reply))?.['result'];
  const version = isJsonObject(agreed) ? agreed['protocolVersion'] : undefined;
  if (reply.kind === 'lost' || typeof version !== 'string') return undefined;
  const sessionId = sessionIdOf(reply.headers);
  const headers = {
    'mcp-protocol-version': version,
    ...(sessionId !== undefined && { 'mcp-session-id': sessionId }),
  };
  await gateway.post(
    '{"jsonrpc":"2.0","method":"notifications/initialized"}',
    headers,
    AbortSignal.timeout(TIMEOUT_MS),
  );
  return { era: 'session', version, headers };
}

async function listTools(gateway: Gateway, era: Era): Promise<JsonObject[] | undefined> {
  const tools: JsonObject[] = [];
  let cursor: Json | undefined;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const reply = await ask(gateway, 'tools/list', cursor === undefined ? {} : { cursor }, era);
    const result = (await readAnswer(reply))?.['result'];
    if (!isJsonObject(result) || !Array.isArray(result['tools'])) return undefined;
    tools.push(...result['tools'].filter(isJsonObject));
    cursor = result['nextCursor'];
    if (typeof cursor !== 'string') break;
  }
  return tools;
}

const CLIENT = { name: 'sentinel-mcp-proxy-doctor', version: '1' };

function ask(
  gateway: Gateway,
  method: string,
  params: JsonObject,
  how: { era: 'stateless' } | { era: 'session'; headers: Record<string, string> },
): Promise<Reply> {
  const meta = {
    'io.modelcontextprotocol/protocolVersion': STATELESS_VERSION,
    'io.modelcontextprotocol/clientInfo': CLIENT,
    'io.modelcontextprotocol/clientCapabilities': {},
  };
  const sent = how.era === 'stateless' ? { ...params, _meta: meta } : params;
  const headers = how.era === 'stateless' ? rememberToolHeaders().headersOf(method, sent) : how.headers;
  return gateway.post(
    JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: sent }),
    headers,
    AbortSignal.timeout(TIMEOUT_MS),
  );
}

function checkClock(date: string | undefined): Check {
  const theirs = Date.parse(date ?? '');
  if (Number.isNaN(theirs))
    return { name: 'Clock', status: 'skipped', detail: 'the gateway does not say what time it is' };
  const apartMs = Date.now() - theirs;
  // The Date header counts whole seconds.
  const seconds = Math.round(Math.max(0, Math.abs(apartMs) - 1000) / 1000);
  if (Math.abs(apartMs) <= TOLERATED_SKEW_MS)
    return ok('Clock', seconds === 0 ? 'in step with the gateway' : `${seconds} s apart`);
  const way = apartMs > 0 ? 'ahead of' : 'behind';
  return {
    name: 'Clock',
    status: 'warning',
    detail: `this machine is ${seconds} s ${way} the gateway; set its clock`,
  };
}

function checkTools(tools: JsonObject[]): Check {
  if (tools.length === 0)
    return {
      name: 'Tools',
      status: 'warning',
      detail: 'none: the filters in SENTINEL_URL, or the key, leave no agent',
    };
  // Four bytes a token is the usual rule of thumb for JSON.
  const tokens = Math.ceil(Buffer.byteLength(JSON.stringify(tools)) / 4);
  return ok(
    'Tools',
    `${tools.length} (about ${tokens.toLocaleString('en-US')} tokens of the model's context)`,
  );
}

/** Reads the price line that every description ends in: it is what the buyer was shown. */
function checkPrices(tools: JsonObject[]): Check {
  const prices = tools.flatMap((tool) => {
    const line =
      /Cost: .*$/s.exec(typeof tool['description'] === 'string' ? tool['description'] : '')?.[0] ?? '';
    const amounts = [...line.matchAll(/(\d+(?:\.\d+)?) credits?\b/g)].flatMap(
      (match) => parseCredits(match[1] ?? '') ?? [],
    );
    // A metered agent names its unit price and the most one call may cost; the latter is what a call holds.
    return amounts.length === 0 ? [] : [amounts.reduce((most, amount) => (amount > most ? amount : most))];
  });
  const [first, ...rest] = prices;
  if (first === undefined) return { name: 'Prices', status: 'skipped', detail: 'no tool names a price' };
  const cheapest = rest.reduce((least, price) => (price < least ? price : least), first);
  const dearest = rest.reduce((most, price) => (price > most ? price : most), first);
  return ok('Prices', `from ${formatCredits(cheapest)} to ${formatCredits(dearest)} credits a call`);
}

function ok(name: string, detail: string): Check {
  return { name, status: 'ok', detail };
}

function failed(name: string, detail: string): Check {
  return { name, status: 'failed', detail };
}

/** The checks as a person reads them. */
export function formatChecks(checks: Check[]): string {
  const marks = { ok: 'ok  ', warning: 'warn', failed: 'FAIL', skipped: '-   ' };
  const width = Math.max(...checks.map(({ name }) => name.length));
  return checks
    .map(({ name, status, detail }) => `${marks[status]}  ${name.padEnd(width)}  ${detail}`)
    .join('\n');
}
