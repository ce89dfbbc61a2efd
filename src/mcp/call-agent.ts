import type { Json, JsonObject } from '../base/json.ts';
import { handlePaidCall } from '../calls/paid-call.ts';
import type { Connection } from './connection.ts';
import { readTerms, type GivenTerm } from './purchase-terms.ts';
import type { McpDeps, ToolCall } from './tool-call.ts';
import { formatCallResult, type ToolResult } from './tool-result.ts';

/** What is bought: an agent's work on these arguments, with the terms its arguments may carry. */
export type Purchase = {
  agentId: string;
  input: Json;
  idempotencyKey: Json | undefined;
  maxCredits: Json | undefined;
};

/** The paid call, under the connection's filters. Throws Problem when its terms cannot be read. */
export async function callAgent(
  purchase: Purchase,
  call: ToolCall,
  connection: Connection,
  deps: McpDeps,
): Promise<ToolResult> {
  const { caller, view } = connection;
  const terms = readTerms({
    idempotencyKeys: [
      { from: 'the header Idempotency-Key', value: call.idempotencyHeader },
      metaTerm(call.meta, 'xyz.sentinel/idempotency-key'),
      { from: 'idempotency_key', value: purchase.idempotencyKey },
    ],
    maxCredits: [
      metaTerm(call.meta, 'xyz.sentinel/max-credits'),
      { from: 'max_credits', value: purchase.maxCredits },
    ],
  });
  const result = await handlePaidCall(
    {
      agentId: purchase.agentId,
      input: purchase.input,
      filters: view.filters,
      wire: 'mcp',
      requestId: call.requestId,
      signal: call.signal,
      ...(call.onChunk ? { onChunk: call.onChunk } : {}),
      ...terms,
    },
    caller,
    deps.calls,
  );
  return formatCallResult(result);
}

function metaTerm(meta: JsonObject | undefined, name: string): GivenTerm {
  return { from: `_meta["${name}"]`, value: meta?.[name] };
}
