import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { readReceipt } from '../audit/receipts.ts';
import { formatCredits } from '../base/money.ts';
import { formatAnswer as formatParts, type CallResult } from '../calls/call.ts';
import type { HttpEnv } from './env.ts';
import { formatProblem, problemResponse } from './problem-response.ts';
import { amountOut } from './words.ts';

export const receiptOut = z
  .object({
    agent_id: z.string(),
    agent_version: z.string().nullable(),
    call_id: z.string(),
    charged: amountOut,
    code: z.string().optional().openapi({ description: 'Why it was refunded.' }),
    currency: z.enum(['live', 'test']),
    ended_at: z.string(),
    fee: amountOut,
    held: amountOut,
    input_hash: z.string().openapi({
      description:
        'SHA-256 of the RFC 8785 form of the arguments, hex. A number that no double holds stands in it as it was written.',
    }),
    key_id: z.string(),
    manifest_hash: z.string().nullable(),
    organization_id: z.string(),
    outcome: z.enum(['settled', 'refunded']),
    output_hash: z.string().nullable().openapi({ description: 'The same, of the output.' }),
    prev: z.string().openapi({
      description: "SHA-256 of the payload of this organization's receipt before, 64 zeros for the first.",
    }),
    seq: z.number().int(),
    started_at: z.string(),
    v: z.literal(1),
    jws: z.string().openapi({ description: 'RFC 7515 compact JWS, EdDSA, over all the other members.' }),
  })
  .openapi('Receipt');

export const callAnswer = z
  .object({
    call_id: z.string(),
    agent_id: z.string(),
    status: z.literal('succeeded'),
    output: z.unknown(),
    content: z.array(z.unknown()).optional().openapi({ description: 'The blocks of an MCP tool.' }),
    _meta: z.record(z.string(), z.unknown()).optional().openapi({ description: "The tool's own `_meta`." }),
    credits_charged: amountOut,
    receipt: receiptOut,
    replay: z
      .boolean()
      .openapi({ description: 'True: an earlier request made this purchase, and it was charged then.' }),
  })
  .openapi('CallAnswer');

export type CallAnswerBody = z.infer<typeof callAnswer>;

/** A call that has ended, as one JSON answer. */
export function answerCall(c: Context<HttpEnv>, result: CallResult): Response {
  return result.kind === 'answer'
    ? c.json(formatAnswer(result), 200)
    : problemResponse(c, result.problem, moneyOf(result));
}

export function formatAnswer(result: Extract<CallResult, { kind: 'answer' }>): CallAnswerBody {
  const { answer, isReplay } = result;
  const receipt = readReceipt(result.receipt);
  return {
    call_id: receipt.call_id,
    agent_id: receipt.agent_id,
    status: 'succeeded',
    ...formatParts(answer),
    credits_charged: receipt.charged,
    receipt,
    replay: isReplay,
  };
}

/** The same problem details as the body of a refusal. */
export function formatRefusal(
  result: Extract<CallResult, { kind: 'problem' }>,
  requestId: string,
): Record<string, unknown> {
  return { ...formatProblem(result.problem, requestId), ...moneyOf(result) };
}

/** Next to nothing that goes wrong is charged; the receipt proves it where credits had been held. */
function moneyOf(result: Extract<CallResult, { kind: 'problem' }>): Record<string, unknown> {
  const { receipt, chargedMicros = 0n } = result;
  return { charged: formatCredits(chargedMicros), ...(receipt ? { receipt: readReceipt(receipt) } : {}) };
}
