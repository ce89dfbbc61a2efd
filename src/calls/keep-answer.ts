import { mayRunOn } from '../catalog/agent.ts';
import type { CallAnswer, HeldCall } from './call.ts';
import type { CallDeps } from './deps.ts';
import type { RunningCall } from './running-calls.ts';

/**
 * Where the answer of one call is kept, for those who may still come for it.
 *
 *   nowhere       → announced      the last buyer leaves a call that runs on: the next identical call waits for it
 *   nowhere       → for its key    about to be paid, with an idempotency key and a buyer
 *   nowhere       → for handover   about to be paid, and no buyer is there
 *   announced     → for its key    a buyer joined again before it was paid
 *   announced     → for handover   about to be paid, and no buyer is there
 *   for its key   → for handover   paid, and the last buyer left in between
 *   nowhere       → for handover   the same, without a key
 *   anywhere      → nowhere        the call was refunded: there is nothing to give
 *
 * What waits for handover may be taken by another process as soon as it is paid, so it never goes back.
 */
export type AnswerKeeper = {
  /**
   * A paid answer that a buyer may come for must be there to be given. Should the gateway crash before it is paid,
   * the sweeper refunds and frees the key, and no request finds what was kept. Throws what the database throws.
   */
  beforePaid(answer: CallAnswer): Promise<void>;
  /** Never throws: from here on a failure is the gateway's, and must not take the answer from its buyer. */
  oncePaid(answer: CallAnswer): Promise<{ isDelivered: boolean }>;
  /** Never throws. */
  drop(): Promise<void>;
};

type Place = 'nowhere' | 'announced' | 'for its key' | 'for handover';

export function keepAnswer(call: HeldCall, running: RunningCall, deps: CallDeps): AnswerKeeper {
  const owner = {
    callId: call.callId,
    keyId: call.caller.keyId,
    requestHash: call.requestHash ?? call.callId,
  };
  let place: Place = 'nowhere';
  // What is written next waits for this, so that an announcement never undoes it.
  let announced: Promise<void> = Promise.resolve();

  async function keep(wanted: 'for its key' | 'for handover', answer: CallAnswer): Promise<void> {
    await announced;
    if (place === wanted) return;
    if (wanted === 'for its key') await deps.results.keep(owner, answer);
    else await deps.results.keepForHandover(owner, answer);
    place = wanted;
  }

  if (mayRunOn(call.agent)) {
    running.runOn(() => {
      if (place !== 'nowhere') return;
      place = 'announced';
      const expected = deps.results.expect(owner, call.agent.timeoutMs);
      announced = orLog(expected, 'a call that runs on was not announced', call, deps);
    });
  }

  return {
    beforePaid: async (answer) => {
      if (!running.hasBuyer()) return keep('for handover', answer);
      if (call.request.idempotencyKey !== undefined || place === 'announced')
        return keep('for its key', answer);
      return undefined;
    },
    oncePaid: async (answer) => {
      await announced;
      const isDelivered = running.hasBuyer();
      if (!isDelivered || place === 'announced') {
        const wanted = isDelivered ? 'for its key' : 'for handover';
        await orLog(keep(wanted, answer), 'an answer could not be kept', call, deps);
      }
      return { isDelivered };
    },
    drop: async () => {
      if (place === 'nowhere') return;
      await announced;
      await orLog(deps.results.drop(call.callId), 'a refunded call is still kept', call, deps);
      place = 'nowhere';
    },
  };
}

/** For what is good to have done and must not change how the call ends. */
async function orLog(work: Promise<void>, message: string, call: HeldCall, deps: CallDeps): Promise<void> {
  try {
    await work;
  } catch (error) {
    deps.log('warn', message, { call: call.callId, error: String(error) });
  }
}
