import { unreachable } from '../base/invariant.ts';
import type { PreparedCall } from '../upstream/upstream.ts';
import type { HeldCall } from './call.ts';
import type { Delivery } from './delivery.ts';
import type { CallDeps } from './deps.ts';
import { keepAnswer } from './keep-answer.ts';
import { judge, type Verdict } from './outcome.ts';
import type { RunningCall } from './running-calls.ts';
import { failedVerdict, refundCall, settleCall, settleDelivered, type CallEnded } from './settle-call.ts';

/**
 * Credits are on hold: forwards the call, judges the answer, and settles or refunds. The upstream returns
 * its failures instead of throwing them, and whatever throws here all the same ends in a refund; a crash
 * leaves an open hold, which the sweeper refunds.
 */
export async function runHeldCall(
  call: HeldCall,
  prepared: PreparedCall,
  delivery: Delivery,
  running: RunningCall,
  deps: CallDeps,
): Promise<CallEnded> {
  const keeper = keepAnswer(call, running, deps);
  const { verdict, upstreamMs } = await forward(call, prepared, delivery, running, deps);
  const times = { holdMs: call.holdMs, upstreamMs };
  switch (verdict.kind) {
    case 'settle':
      return settleCall(call, verdict, times, keeper, deps);
    case 'settle_delivered':
      return settleDelivered(call, verdict.owed, times, keeper, deps);
    case 'refund':
      return refundCall(call, verdict, times, keeper, deps);
    default:
      return unreachable(verdict);
  }
}

/** Asks the agent and holds it to its promise. Never throws. */
async function forward(
  call: HeldCall,
  prepared: PreparedCall,
  delivery: Delivery,
  running: RunningCall,
  deps: CallDeps,
): Promise<{ verdict: Verdict; upstreamMs: number | undefined }> {
  const before = deps.clock.elapsed();
  let upstreamMs: number | undefined;
  try {
    const outcome = await prepared.send();
    upstreamMs = deps.clock.elapsed() - before;
    const verdict = judge(outcome, call.agent);
    // No buyer is left to answer and the call may not run on without one: what the agent said is not paid, but
    // for what it had delivered and metered before.
    const isGivenUp = outcome.kind === 'cancelled' || (running.signal.aborted && verdict.kind === 'settle');
    return { verdict: isGivenUp ? verdictOnLeaving(call, delivery, running) : verdict, upstreamMs };
  } catch (error) {
    return { verdict: failedVerdict(call, error, deps), upstreamMs };
  }
}

/** A gateway that shuts down gives up calls whose buyer is still there: those cost nothing. */
function verdictOnLeaving(call: HeldCall, delivery: Delivery, running: RunningCall): Verdict {
  const owed = running.hasBuyer() ? undefined : delivery.owed();
  return owed ? { kind: 'settle_delivered', owed } : judge({ kind: 'cancelled' }, call.agent);
}
