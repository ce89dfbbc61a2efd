import { setTimeout as wait } from 'node:timers/promises';
import { invariant, unreachable } from '../base/invariant.ts';
import { Problem } from '../base/problem.ts';
import { findIdempotencyKey } from '../ledger/idempotency.ts';
import type { Call, CallAnswer, CallResult } from './call.ts';
import type { CallDeps } from './deps.ts';
import { holdTtlMs } from './place-hold.ts';
import { markDelivered } from './records.ts';
import { idempotencyConflict, type RunningCall } from './running-calls.ts';

type Replay = Extract<CallResult, { kind: 'answer' }>;

export type OpenedCall = { kind: 'new' } | { kind: 'replay'; result: Replay };

const MIN_LOOK_AGAIN_MS = 25;
const MAX_LOOK_AGAIN_MS = 500;
// By then the sweeper of every process has passed a hold that expired.
const SWEEP_MARGIN_MS = 60_000;

/**
 * Is this a purchase that was made already? An idempotency key answers for 24 hours; without one, an answer
 * its buyer never received is handed over free for 15 minutes. A call that another process is still working
 * on is waited for, no longer than its hold can live: it ends when the other process settles (a replay), refunds
 * (a new call), or is dead and its hold expires.
 */
export async function openCall(call: Call, running: RunningCall, deps: CallDeps): Promise<OpenedCall> {
  const { requestHash } = call;
  if (requestHash === undefined) return { kind: 'new' };
  const giveUpAt = deps.clock.elapsed() + holdTtlMs(call.agent) + SWEEP_MARGIN_MS;
  for (let waitMs = MIN_LOOK_AGAIN_MS; ; waitMs = Math.min(waitMs * 2, MAX_LOOK_AGAIN_MS)) {
    const earlier = await findEarlier(call, requestHash, deps);
    if (earlier.kind !== 'running') return earlier;
    // A buyer who leaves ends the wait.
    if (running.signal.aborted) return { kind: 'new' };
    if (deps.clock.elapsed() > giveUpAt) throw stillRunning();
    await wait(waitMs);
  }
}

async function findEarlier(
  call: Call,
  requestHash: string,
  deps: CallDeps,
): Promise<OpenedCall | { kind: 'running' }> {
  const { caller, request } = call;
  if (request.idempotencyKey !== undefined) {
    const earlier = await findIdempotencyKey(deps.db, caller.keyId, request.idempotencyKey);
    if (earlier) {
      if (earlier.requestHash !== call.keyedHash) throw idempotencyConflict();
      if (earlier.state === 'open') return { kind: 'running' };
      if (earlier.state === 'settled') {
        // Taken, so that it is not also waiting for the next identical call without a key.
        const answer = await deps.results.takeKept(earlier.callId);
        if (!answer) throw answerGone(earlier.callId);
        return replay(earlier.callId, answer, deps);
      }
    }
  }
  const handover = await deps.results.takeHandover(caller.keyId, requestHash);
  switch (handover.kind) {
    case 'nothing':
      return { kind: 'new' };
    case 'running':
      return handover;
    case 'answer': {
      const opened = await replay(handover.callId, handover.answer, deps);
      await nameForRetries(call, opened.result, deps);
      return opened;
    }
    default:
      return unreachable(handover);
  }
}

/**
 * A request with a key that was given another call's answer gets the same one when it is sent again. Failing to
 * say so takes nothing from the buyer, who has the answer: a retry would buy once more.
 */
export async function nameForRetries(call: Call, given: Replay, deps: CallDeps): Promise<void> {
  const { caller, request, requestHash, keyedHash } = call;
  const { idempotencyKey } = request;
  if (idempotencyKey === undefined || keyedHash === undefined || requestHash === undefined) return;
  const { callId } = given.receipt;
  const name = { callId, keyId: caller.keyId, requestHash, idempotencyKey, keyedHash };
  try {
    await deps.results.keepForKey(name, given.answer);
  } catch (error) {
    deps.log('warn', 'a key does not stand for the answer it was given', {
      call: callId,
      error: String(error),
    });
  }
}

async function replay(
  callId: string,
  answer: CallAnswer,
  deps: CallDeps,
): Promise<{ kind: 'replay'; result: Replay }> {
  await markDelivered(deps.db, callId);
  const receipt = await deps.receipts.find(callId);
  invariant(receipt, `the settled call ${callId} has a receipt`);
  return { kind: 'replay', result: { kind: 'answer', answer, receipt, isReplay: true } };
}

/** An answer outlives every key that stands for it, unless an operator has removed it. */
function answerGone(callId: string): Problem {
  return new Problem(
    'IDEMPOTENCY_CONFLICT',
    `This idempotency key has paid for ${callId}, whose answer is not kept any more. Nothing was charged again. Use a new key to buy it anew.`,
    { call_id: callId },
  );
}

function stillRunning(): Problem {
  return new Problem(
    'UNAVAILABLE',
    'An earlier call with the same arguments has not ended yet. Nothing was charged for this one. Send it again.',
    { retry_after_seconds: 5 },
  );
}
