import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { CallResult } from '../calls/call.ts';
import type { HttpEnv } from './deps.ts';
import { formatProblem, problemResponse } from './problem-response.ts';
import { amountOut } from './words.ts';

export const receiptOut = z
  .object({
    call_id: z.string(),
    agent_id: z.string(),
    agent_version: z.string(),
    organization_id: z.string(),
    key_id: z.string(),
    currency: z.enum(['live', 'test']),
    outcome: z.enum(['settled', 'refunded']),
    held: amountOut,
    charged: amountOut,
    fee: amountOut,
    started_at: z.string(),
    ended_at: z.string(),
  })
  .openapi('Receipt');

export const callAnswer = z
  .object({
    call_id: z.string(),
    agent_id: z.string(),
    status: z.literal('succeeded'),
    output: z.unknown(),
    content: z.array(z.unknown()).optional(),
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
  const { answer, receipt, isReplay } = result;
  return {
    call_id: receipt.call_id,
    agent_id: receipt.agent_id,
    status: 'succeeded',
    output: answer.output,
    ...(answer.content ? { content: answer.content } : {}),
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

/** Whatever went wrong, nothing was charged; the receipt proves it where credits had been held. */
function moneyOf({ receipt }: Extract<CallResult, { kind: 'problem' }>): Record<string, unknown> {
  return { charged: '0', ...(receipt ? { receipt } : {}) };
}
