import type { PreparedCall } from '../upstream/upstream.ts';
import type { HeldCall } from './call.ts';
import type { CallDeps } from './deps.ts';
import { keepAnswer } from './keep-answer.ts';
import { judge, type Verdict } from './outcome.ts';
import type { RunningCall } from './running-calls.ts';
import { failedVerdict, refundCall, settleCall, type CallEnded } from './settle-call.ts';

/**
 * Credits are on hold: forwards the call, judges the answer, and settles or refunds. The upstream returns
 * its failures instead of throwing them, and whatever throws here all the same ends in a refund; a crash
 * leaves an open hold, which the sweeper refunds.
 */
export async function runHeldCall(
  call: HeldCall,
  prepared: PreparedCall,
  running: RunningCall,
  deps: CallDeps,
): Promise<CallEnded> {
  const keeper = keepAnswer(call, running, deps);
  const { verdict, upstreamMs } = await forward(call, prepared, running, deps);
  const times = { holdMs: call.holdMs, upstreamMs };
  return verdict.kind === 'settle'
    ? settleCall(call, verdict, times, keeper, deps)
    : refundCall(call, verdict, times, keeper, deps);
}

/** Asks the agent and holds it to its promise. Never throws. */
async function forward(
  call: HeldCall,
  prepared: PreparedCall,
  running: RunningCall,
  deps: CallDeps,
): Promise<{ verdict: Verdict; upstreamMs: number | undefined }> {
  const before = deps.clock.elapsed();
  let upstreamMs: number | undefined;
  try {
    const outcome = await prepared.send();
    upstreamMs = deps.clock.elapsed() - before;
    const verdict = judge(outcome, call.agent);
    // No buyer is left to answer and the call may not run on without one: what the agent said is not paid.
    const isGivenUp = running.signal.aborted && verdict.kind === 'settle';
    return { verdict: isGivenUp ? judge({ kind: 'cancelled' }, call.agent) : verdict, upstreamMs };
  } catch (error) {
    return { verdict: failedVerdict(call, error, deps), upstreamMs };
  }
}
