import { isJsonObject, type Json, type JsonObject } from '../base/json.ts';
import { Problem } from '../base/problem.ts';
import type { PaidCallRequest } from '../calls/call.ts';
import { handlePaidCall, refusePaidCall } from '../calls/paid-call.ts';
import type { Connection } from './connection.ts';
import { readTerms, type GivenTerm, type PurchaseTerms } from './purchase-terms.ts';
import type { McpDeps, ToolCall } from './tool-call.ts';
import { formatCallResult, type ToolResult } from './tool-result.ts';

/** What is bought: an agent's work on these arguments, with the terms its arguments may carry. */
export type Purchase = {
  agentId: string;
  input: Json;
  exactInput: Json | undefined;
  idempotencyKey: Json | undefined;
  maxCredits: Json | undefined;
};

/** The paid call, under the connection's filters. Terms that cannot be read are a refusal like any other. */
export async function callAgent(
  purchase: Purchase,
  call: ToolCall,
  connection: Connection,
  deps: McpDeps,
): Promise<ToolResult> {
  const { caller, view } = connection;
  const request: PaidCallRequest = {
    agentId: purchase.agentId,
    input: purchase.input,
    ...(isJsonObject(purchase.exactInput) ? { exactInput: purchase.exactInput } : {}),
    filters: view.filters,
    wire: 'mcp',
    requestId: call.requestId,
    signal: call.signal,
    ...(call.onChunk ? { onChunk: call.onChunk } : {}),
  };
  const terms = termsOf(purchase, call);
  const result =
    terms instanceof Problem
      ? refusePaidCall(request, caller, terms, deps.calls)
      : await handlePaidCall({ ...request, ...terms }, caller, deps.calls);
  return formatCallResult(result, call.revision);
}

function termsOf(purchase: Purchase, call: ToolCall): PurchaseTerms | Problem {
  // Most calls say nothing but what they want done.
  if (hasNoTerms(purchase, call)) return NO_TERMS;
  try {
    return readTerms({
      idempotencyKeys: [
        { from: 'the header Idempotency-Key', value: call.headers.idempotencyKey },
        metaTerm(call.meta, 'xyz.sentinel/idempotency-key'),
        { from: 'idempotency_key', value: purchase.idempotencyKey },
      ],
      maxCredits: [
        metaTerm(call.meta, 'xyz.sentinel/max-credits'),
        { from: 'max_credits', value: purchase.maxCredits },
      ],
      sessions: [
        { from: 'the header X-Sentinel-Session', value: call.headers.session },
        metaTerm(call.meta, 'xyz.sentinel/session'),
      ],
      callers: [
        { from: 'the header X-Sentinel-Caller', value: call.headers.caller },
        metaTerm(call.meta, 'xyz.sentinel/caller'),
      ],
      connection: call.headers.connection,
    });
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
}

const NO_TERMS: PurchaseTerms = {};

function hasNoTerms(purchase: Purchase, { meta, headers }: ToolCall): boolean {
  return (
    meta === undefined &&
    headers.idempotencyKey === undefined &&
    headers.session === undefined &&
    headers.caller === undefined &&
    headers.connection === undefined &&
    purchase.idempotencyKey === undefined &&
    purchase.maxCredits === undefined
  );
}

function metaTerm(meta: JsonObject | undefined, name: string): GivenTerm {
  return { from: `_meta["${name}"]`, value: meta?.[name] };
}
