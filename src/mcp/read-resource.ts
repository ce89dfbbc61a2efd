import { isJsonObject, type JsonObject } from '../base/json.ts';
import { Problem } from '../base/problem.ts';
import { readLinkedResource } from '../calls/linked-resources.ts';
import type { Connection } from './connection.ts';
import { INVALID_PARAMS, type RequestId } from './parse-request.ts';
import { isModern } from './revision.ts';
import { formatError, formatResult } from './rpc-text.ts';
import type { McpDeps, ToolCall } from './tool-call.ts';

const RESOURCE_NOT_FOUND = -32_002;
const SERVER_ERROR = -32_000;

/** `resources/read`: what an answer that the key has bought links to. `modernTail` ends a result of 2026-07-28. */
export async function readResource(
  request: { id: RequestId; params: JsonObject | undefined },
  { caller }: Connection,
  wire: Pick<ToolCall, 'requestId' | 'signal' | 'revision'>,
  modernTail: string,
  deps: McpDeps,
): Promise<string> {
  const { id } = request;
  const uri = request.params?.['uri'];
  if (typeof uri !== 'string') {
    return formatError(id, { code: INVALID_PARAMS, message: 'Invalid params: "uri" must be a text.' });
  }
  const isNew = isModern(wire.revision);
  try {
    const output = await readLinkedResource({ uri, ...wire }, caller, deps.calls);
    const contents = JSON.stringify(isJsonObject(output) ? output['contents'] : []);
    return formatResult(id, `{"contents":${contents}${isNew ? modernTail : ''}}`);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const { code, message } = error;
    const notFound = isNew ? INVALID_PARAMS : RESOURCE_NOT_FOUND;
    return formatError(id, {
      code: code === 'NOT_FOUND' ? notFound : SERVER_ERROR,
      message,
      data: { uri, code, ...error.extras },
    });
  }
}
