import { uuidOfId } from '../base/ids.ts';
import type { Problem } from '../base/problem.ts';
import type { Attempt } from './call.ts';
import type { CallDeps } from './deps.ts';

/** How a call that had credits on hold spent its time, in milliseconds; `upstreamMs` where the agent was asked. */
export type CallTimes = { holdMs: number; upstreamMs: number | undefined };

/** How a call ended, for the record and the figures. */
export type CallEnd =
  | {
      outcome: 'settled';
      heldMicros: bigint;
      chargedMicros: bigint;
      feeMicros: bigint;
      isOverReported: boolean;
      isDelivered: boolean;
      times: CallTimes;
    }
  | { outcome: 'refunded'; heldMicros: bigint; code: Problem['code']; times: CallTimes }
  | { outcome: 'refused'; code: Problem['code'] }
  /** An answer that was bought before was given again, free. */
  | { outcome: 'replayed'; replayOf: string };

/** Writes down that the call ended, and how. Every path ends here exactly once. */
export function recordEnd(attempt: Attempt, end: CallEnd, deps: CallDeps): void {
  const { caller, request, agent } = attempt;
  const code = 'code' in end ? end.code : null;
  const micros = {
    heldMicros: 'heldMicros' in end ? end.heldMicros : 0n,
    chargedMicros: end.outcome === 'settled' ? end.chargedMicros : 0n,
    feeMicros: end.outcome === 'settled' ? end.feeMicros : 0n,
  };
  const times = 'times' in end ? end.times : undefined;
  const isOverReported = end.outcome === 'settled' && end.isOverReported;
  deps.recorder.record({
    id: attempt.callId,
    organizationId: caller.organizationId,
    keyId: caller.keyId,
    agentId: printable(request.agentId),
    agentVersion: agent?.version,
    currency: caller.currency,
    wire: request.wire,
    outcome: end.outcome,
    replayOf: end.outcome === 'replayed' ? uuidOfId('call', end.replayOf) : undefined,
    code,
    ...micros,
    requestId: request.requestId,
    session: request.session,
    actingFor: request.actingFor,
    isOverReported,
    isDelivered: end.outcome === 'settled' ? end.isDelivered : !request.signal.aborted,
    upstreamMs: times?.upstreamMs === undefined ? null : Math.round(times.upstreamMs),
    startedAt: attempt.startedAt,
    endedAt: new Date(deps.clock.now()),
  });
  deps.onEnded({
    result: code ?? end.outcome,
    wire: request.wire,
    ...micros,
    isOverReported,
    totalMs: deps.clock.elapsed() - attempt.startedElapsed,
    holdMs: times?.holdMs,
    upstreamMs: times?.upstreamMs,
  });
}

/** What was asked for may be any text; what is written down is short and plain. */
function printable(agentId: string): string {
  return agentId.slice(0, 64).replace(/[^\x20-\x7e]/g, '?');
}
