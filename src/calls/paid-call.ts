import { newId } from '../base/ids.ts';
import { traceOf } from '../base/log.ts';
import { Problem } from '../base/problem.ts';
import { matchesFilters, type Agent } from '../catalog/agent.ts';
import { problemOfThrown } from '../db/thrown-problem.ts';
import { decide } from '../governance/decide.ts';
import { loadFacts } from '../governance/facts.ts';
import type { Caller } from '../identity/caller.ts';
import type { PreparedCall } from '../upstream/upstream.ts';
import type { Attempt, Call, CallResult, PaidCallRequest } from './call.ts';
import { checkCall } from './check-call.ts';
import { trackDelivery, type Delivery } from './delivery.ts';
import type { CallDeps } from './deps.ts';
import { runHeldCall } from './held-call.ts';
import { nameForRetries, openCall } from './open-call.ts';
import { holdTtlMs, placeHold } from './place-hold.ts';
import { mostItMayCost, priceCall, takeFreePlace } from './price-call.ts';
import { recordEnd } from './record-end.ts';
import type { OwnCall } from './running-calls.ts';

/**
 * Runs one paid call from request to receipt; section 2 of the contract, step by step.
 *
 *   check scope, agent and arguments → join, or → open call (or replay) → price it → decide →
 *   prepare forward → place hold → forward → check output → settle or refund → record
 *
 * Both wires come through here. Every way it can end, refusals included, is an answer and is recorded;
 * nothing before `placeHold` moves money, and every path after it ends in exactly one settle or refund.
 * A buyer who leaves a call that runs on is answered CANCELLED at once.
 */
export function handlePaidCall(
  request: PaidCallRequest,
  caller: Caller,
  deps: CallDeps,
): Promise<CallResult> {
  return new Promise((resolve, reject) => {
    makeCall(beginAttempt(request, caller, deps), resolve, deps).then(resolve, reject);
  });
}

// A key is taken between the look and the hold only by a request that came at the same moment in another process.
// The second look then waits for what became of that one; a third such request in a row is told to come again.
const MAX_TURNS = 2;

async function makeCall(
  attempt: Attempt,
  onLeft: (result: CallResult) => void,
  deps: CallDeps,
): Promise<CallResult> {
  let own: OwnCall | undefined;
  try {
    const call = checkCall(attempt);
    const shared = deps.running.share(call, onLeft);
    if (shared.kind === 'joined') return await endJoined(call, await shared.result, deps);
    own = shared.own;

    for (let turn = 1; turn <= MAX_TURNS; turn += 1) {
      const opened = await openCall(call, own, deps);
      if (opened.kind === 'replay') {
        recordEnd(call, { outcome: 'replayed', replayOf: opened.result.receipt.callId }, deps);
        return own.end(opened.result);
      }
      const priced = await priceCall(call, deps);
      const amountMicros = mostItMayCost(priced);
      const ttlMs = holdTtlMs(call.agent);
      await using freePlace = takeFreePlace(priced, deps);
      using loaded = await loadFacts(
        {
          caller: call.caller,
          callId: call.callId,
          priceMaxMicros: amountMicros,
          requestMaxMicros: call.request.maxMicros,
          ttlMs,
        },
        deps.gate,
      );
      const decision = decide(loaded.facts);
      if (decision.kind !== 'allow') throw decision.problem;
      if (own.signal.aborted) throw new Problem('CANCELLED', 'The call was cancelled before it began.');

      // Written and signed while the ledger places the hold. The agent hears of it after that.
      const delivery = trackDelivery(priced, own);
      const prepared = prepareForward(call, delivery, own, deps);
      // Above this line a refusal costs nothing and moves nothing. Below it credits are on hold.
      const placed = await placeHold(priced, amountMicros, ttlMs, deps);
      if (placed.kind === 'key_taken') continue;
      freePlace.keep();
      // Until it is known what became of the hold, nothing of it counts as given back.
      loaded.spent(placed.call.heldMicros);
      const ended = await runHeldCall(placed.call, prepared, delivery, own, deps);
      loaded.spent(ended.chargedMicros);
      return own.end(ended.result);
    }
    throw new Problem(
      'UNAVAILABLE',
      'Other requests with this idempotency key are being decided at this moment. Nothing was charged. Send it again.',
      { retry_after_seconds: 1 },
    );
  } catch (error) {
    const refused = refuse(attempt, error, deps);
    return own ? own.end(refused) : refused;
  }
}

/**
 * Refuses a call whose wire could not even read its terms: recorded like every other refusal, and formatted
 * by the wire like every other answer.
 */
export function refusePaidCall(
  request: PaidCallRequest,
  caller: Caller,
  problem: Problem,
  deps: CallDeps,
): CallResult {
  return refuse(beginAttempt(request, caller, deps), problem, deps);
}

function beginAttempt(request: PaidCallRequest, caller: Caller, deps: CallDeps): Attempt {
  return {
    callId: newId('call'),
    request,
    caller,
    agent: findAgent(request, deps),
    startedAt: new Date(deps.clock.now()),
    startedElapsed: deps.clock.elapsed(),
  };
}

function findAgent({ agentId, filters }: PaidCallRequest, deps: CallDeps): Agent | undefined {
  const agent = deps.catalog.find(agentId);
  return agent && matchesFilters(agent, filters) ? agent : undefined;
}

function prepareForward(call: Call, delivery: Delivery, own: OwnCall, deps: CallDeps): PreparedCall {
  const { agent, request } = call;
  const { endpoint, capabilities } = agent.manifest;
  return deps.upstream.prepare({
    endpoint,
    input: call.input,
    callId: call.callId,
    requestId: request.requestId,
    organizationId: call.caller.organizationId,
    timeoutMs: agent.timeoutMs,
    maxBytes: agent.maxPayloadBytes,
    isOutputPromised: agent.manifest.output_schema !== undefined,
    signal: own.signal,
    ...(capabilities?.streaming === true ? { onChunk: delivery.chunk, onUsage: delivery.usage } : {}),
  });
}

/** The call another request was already making: it is that one that is paid for. */
async function endJoined(call: Call, result: CallResult, deps: CallDeps): Promise<CallResult> {
  if (result.kind === 'problem') {
    recordEnd(call, { outcome: 'refused', code: result.problem.code }, deps);
    return result;
  }
  await nameForRetries(call, result, deps);
  recordEnd(call, { outcome: 'replayed', replayOf: result.receipt.callId }, deps);
  return { ...result, isReplay: true };
}

/** Tells the buyer no, and writes down that and why. Nothing is on hold. */
function refuse(attempt: Attempt, error: unknown, deps: CallDeps): CallResult {
  const problem = problemOfThrown(error);
  if (problem.code === 'INTERNAL') {
    deps.log('error', 'a paid call failed', {
      call: attempt.callId,
      error: traceOf(problem.cause ?? problem),
    });
  }
  recordEnd(attempt, { outcome: 'refused', code: problem.code }, deps);
  return { kind: 'problem', problem };
}
