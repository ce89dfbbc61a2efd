import type { RequestId } from './parse-request.ts';

/** A JSON-RPC response around a result that is JSON text already. */
export function formatResult(id: RequestId, result: string): string {
  return `{"jsonrpc":"2.0","id":${formatId(id)},"result":${result}}`;
}

/** A JSON-RPC error response. `message` and `data` are public. */
export function formatError(
  id: RequestId | null,
  error: { code: number; message: string; data?: unknown },
): string {
  const { code, message, data } = error;
  return JSON.stringify({
    jsonrpc: '2.0',
    id,
    error: { code, message, ...(data === undefined ? {} : { data }) },
  });
}

export function formatProgress(
  progressToken: RequestId,
  progress: number,
  { message, total }: { message?: string | undefined; total?: number | undefined },
): string {
  const members = [
    `"progressToken":${formatId(progressToken)},"progress":${progress}`,
    ...(total === undefined ? [] : [`"total":${total}`]),
    ...(message === undefined ? [] : [`"message":${JSON.stringify(message)}`]),
  ];
  return `{"jsonrpc":"2.0","method":"notifications/progress","params":{${members.join(',')}}}`;
}

export const TOOLS_CHANGED = '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}';

function formatId(id: RequestId): string {
  return JSON.stringify(id);
}
