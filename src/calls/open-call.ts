import { setTimeout as wait } from 'node:timers/promises';
import { invariant, unreachable } from '../base/invariant.ts';
import { findIdempotencyKey, nameCall } from '../ledger/idempotency.ts';
import type { CallAnswer, CallResult } from './call.ts';
import type { CallDeps } from './deps.ts';
import type { Call } from './paid-call.ts';
import { markDelivered } from './records.ts';
import { idempotencyConflict, type RunningCall } from './running-calls.ts';

type Replay = Extract<CallResult, { kind: 'answer' }>;

export type OpenedCall = { kind: 'new' } | { kind: 'replay'; result: Replay };

const LOOK_AGAIN_FIRST_MS = 25;
const LOOK_AGAIN_MOST_MS = 500;

/**
 * Is this a purchase that was made already? An idempotency key answers for 24 hours; without one, an answer
 * its buyer never received is handed over free for 15 minutes. A call that another process is still working
 * on is waited for.
 */
export async function openCall(call: Call, running: RunningCall, deps: CallDeps): Promise<OpenedCall> {
  const { requestHash } = call;
  if (requestHash === undefined) return { kind: 'new' };
  for (let waitMs = LOOK_AGAIN_FIRST_MS; ; waitMs = Math.min(waitMs * 2, LOOK_AGAIN_MOST_MS)) {
    const earlier = await findEarlier(call, requestHash, deps);
    if (earlier.kind !== 'running') return earlier;
    // Ends when the other process settles (a replay), refunds (a new call), or its hold expires. A buyer
    // who leaves ends the wait.
    if (running.signal.aborted) return { kind: 'new' };
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
      // Taken, so that it is not also waiting for the next identical call without a key.
      const answer =
        earlier.state === 'settled' ? await deps.results.takeUndelivered(earlier.callId) : undefined;
      if (answer) return replay(earlier.callId, answer, deps);
    }
  }
  const handover = await deps.results.takeHandover(caller.keyId, requestHash);
  switch (handover.kind) {
    case 'nothing':
      return { kind: 'new' };
    case 'running':
      return handover;
    case 'answer':
      await nameForRetries(call, handover.callId, deps);
      return replay(handover.callId, handover.answer, deps);
    default:
      return unreachable(handover);
  }
}

/** A request with a key that was given another call's answer gets the same one when it is sent again. */
export async function nameForRetries(call: Call, callId: string, deps: CallDeps): Promise<void> {
  const { idempotencyKey } = call.request;
  if (idempotencyKey === undefined || call.keyedHash === undefined) return;
  const { keyId } = call.caller;
  await nameCall(deps.db, { keyId, idempotencyKey, callId, requestHash: call.keyedHash });
}

async function replay(callId: string, answer: CallAnswer, deps: CallDeps): Promise<OpenedCall> {
  await markDelivered(deps.db, callId);
  const receipt = await deps.receipts.find(callId);
  invariant(receipt, `the settled call ${callId} has a receipt`);
  return { kind: 'replay', result: { kind: 'answer', answer, receipt, isReplay: true } };
}
