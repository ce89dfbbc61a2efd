import { Problem } from '../base/problem.ts';
import { isJsonObject, type JsonObject } from '../base/json.ts';
import { assertScope } from '../identity/authenticate.ts';
import { callTool } from './call-tool.ts';
import type { Connection } from './connection.ts';
import { INVALID_PARAMS, isId, writtenParams, type Message, type RequestId } from './parse-request.ts';
import { LEGACY_VERSIONS, MODERN_VERSION } from './revision.ts';
import { readResource } from './read-resource.ts';
import { formatError, formatResult } from './rpc-text.ts';
import { parseCallParams, type McpDeps, type ToolCall } from './tool-call.ts';
import type { ToolList } from './tool-list.ts';
import { formatToolResult } from './tool-result.ts';

export type Request = Extract<Message, { kind: 'request' }>;

/** What the transport knows about a request beside its body. */
export type Wire = Pick<ToolCall, 'headers' | 'requestId' | 'signal' | 'onChunk' | 'revision'> & { era: Era };

/** `modern` is revision 2026-07-28; `legacy` is every one before it. */
export type Era = 'legacy' | 'modern';

const LIST_TTL_MS = 60_000;

const HOT_METHODS = new Set(['tools/call', 'tools/list', 'resources/read']);

/**
 * The two methods hosts call all the time, and one that asks an agent as well; the SDK serves the rest, at 164 to
 * 400 µs each.
 */
export function isHot(message: Message): message is Request {
  return message.kind === 'request' && HOT_METHODS.has(message.method);
}

/** Serves `tools/call`, `tools/list` and `resources/read` in both eras. */
export type HotPath = { answer(request: Request, connection: Connection, wire: Wire): Promise<string> };

export function createHotPath(toolList: ToolList, deps: McpDeps): HotPath {
  const serverInfo = `"io.modelcontextprotocol/serverInfo":${JSON.stringify({ name: 'sentinel', title: 'Sentinel', version: deps.version })}`;
  const listTail = `,"ttlMs":${LIST_TTL_MS},"cacheScope":"private","resultType":"complete","_meta":{${serverInfo}}`;

  // Nothing says how long it stays what it is.
  const readTail = listTail.replace(`:${LIST_TTL_MS},`, ':0,');

  async function list(request: Request, connection: Connection, era: Era): Promise<string> {
    const cursor = request.params?.['cursor'];
    if (cursor !== undefined && typeof cursor !== 'string')
      return invalidParams(request.id, '"cursor" must be a text');
    const page = toolList.page(connection.view, cursor);
    if (page === undefined)
      return invalidParams(request.id, '"cursor" is not one of this list; list again without it');
    const writing = deps.calls.prices.show(connection.caller.keyId, page.agents);
    if (writing) await writing;
    return formatResult(request.id, `{${page.text}${era === 'modern' ? listTail : ''}}`);
  }

  return {
    async answer(request, connection, wire) {
      if (request.method === 'tools/list') {
        try {
          assertScope(connection.caller, 'agents:read');
        } catch (error) {
          if (error instanceof Problem) return formatError(request.id, rpcErrorOf(error));
          throw error;
        }
        return list(request, connection, wire.era);
      }
      if (request.method === 'resources/read') {
        return readResource(request, connection, wire, readTail, deps);
      }
      const call = parseCallParams(request.params, request.exactParams);
      if ('fault' in call) return invalidParams(request.id, call.fault);
      const result = await callTool({ ...call, ...wire }, connection, deps);
      return formatResult(
        request.id,
        formatToolResult(result, wire.era === 'modern' ? serverInfo : undefined),
      );
    },
  };
}

function rpcErrorOf(problem: Problem): { code: number; message: string; data: unknown } {
  return { code: -32_000, message: problem.message, data: { code: problem.code } };
}

function invalidParams(id: RequestId, fault: string): string {
  return formatError(id, { code: INVALID_PARAMS, message: `Invalid params: ${fault}.` });
}

/** The headers by which revisions are told apart and a modern request is checked. */
export type ProtocolHeaders = {
  version: string | undefined;
  method: string | undefined;
  name: string | undefined;
};

/**
 * The era of a request that is beyond doubt. Undefined sends it to the SDK, which knows how each doubtful one
 * is refused (and serves those it does not refuse).
 */
export function eraOf(message: Message, headers: ProtocolHeaders): Era | undefined {
  const meta = message.params?.['_meta'];
  const claim = isJsonObject(meta) ? meta['io.modelcontextprotocol/protocolVersion'] : undefined;
  if (claim === undefined)
    return headers.version === undefined || LEGACY_VERSIONS.has(headers.version) ? 'legacy' : undefined;
  const agree =
    claim === MODERN_VERSION &&
    headers.version === claim &&
    headers.method === message.method &&
    isEnvelope(meta as JsonObject) &&
    (message.method !== 'tools/call' || headers.name === message.params?.['name']) &&
    (message.method !== 'resources/read' || headers.name === message.params?.['uri']);
  return agree ? 'modern' : undefined;
}

/** As the SDK checks it, but for the inside of the capabilities, which nothing here reads. */
function isEnvelope(meta: JsonObject): boolean {
  const info = meta['io.modelcontextprotocol/clientInfo'];
  const isInfo =
    info === undefined ||
    (isJsonObject(info) && typeof info['name'] === 'string' && typeof info['version'] === 'string');
  return isInfo && isJsonObject(meta['io.modelcontextprotocol/clientCapabilities']);
}

/** The token under which a client wants to hear of progress. */
export function progressTokenOf(message: Message): RequestId | undefined {
  const meta = writtenParams(message)?.['_meta'];
  const token = isJsonObject(meta) ? meta['progressToken'] : undefined;
  return isId(token) ? token : undefined;
}
