import { canonicalJson, hashJson, hashText } from '../base/canonical-json.ts';
import { newId } from '../base/ids.ts';
import { isJsonObject, type JsonObject } from '../base/json.ts';
import { traceOf } from '../base/log.ts';
import { Problem } from '../base/problem.ts';
import { matchesFilters, type Agent } from '../catalog/agent.ts';
import { problemOfThrown } from '../db/thrown-problem.ts';
import { decide } from '../governance/decide.ts';
import type { GateAnswer } from '../governance/gate.ts';
import { assertScope } from '../identity/authenticate.ts';
import type { Caller } from '../identity/caller.ts';
import type { PreparedCall } from '../upstream/upstream.ts';
import type { CallResult, PaidCallRequest } from './call.ts';
import type { CallDeps } from './deps.ts';
import { runHeldCall } from './held-call.ts';
import { nameForRetries, openCall } from './open-call.ts';
import { checkArgumentBytes } from './payload-limit.ts';
import { placeHold, type HoldPlaced } from './place-hold.ts';
import { giveBackFreeCall, mostItMayCost, priceCall } from './price-call.ts';
import { recordEnd } from './record-end.ts';
import type { RunningCall } from './running-calls.ts';

/** One attempt at a paid call: what was asked, by whom, and what has been learned about it so far. */
export type Attempt = {
  readonly callId: string;
  readonly request: PaidCallRequest;
  readonly caller: Caller;
  readonly startedAt: Date;
  readonly startedElapsed: number;
  agent?: Agent;
  holdMs?: number;
  upstreamMs?: number;
};

/** An attempt whose agent is known and whose arguments are valid. */
export type Call = Attempt & {
  readonly agent: Agent;
  readonly input: JsonObject;
  /** SHA-256 of the arguments' canonical JSON. */
  readonly inputHash: string;
  /** The same for the same agent, version and arguments; only where an answer may be handed over. */
  readonly requestHash: string | undefined;
  /** The same for the same agent and arguments, whatever the version; only with an idempotency key. */
  readonly keyedHash: string | undefined;
};

/**
 * Runs one paid call from request to receipt; section 2 of the contract, step by step.
 *
 *   check scope → find agent → check arguments → open call (or replay, or join) → price it → decide →
 *   prepare forward → place hold → forward → check output → settle or refund → record
 *
 * Both wires come through here. Every way it can end, refusals included, is an answer and is recorded;
 * nothing before `placeHold` moves money, and every path after it ends in exactly one settle or refund.
 */
export async function handlePaidCall(
  request: PaidCallRequest,
  caller: Caller,
  deps: CallDeps,
): Promise<CallResult> {
  const attempt = beginAttempt(request, caller, deps);
  try {
    assertScope(caller, 'agents:invoke');
    attempt.agent = findAgent(request, deps);
    const text = writeArguments(request.input);
    // First of all, because what an agent's schema costs to check is bounded only for what the agent takes.
    if (text !== undefined) checkArgumentBytes(attempt.agent, text);
    const input = checkInput(attempt.agent, request.input);
    const call: Call = Object.assign(attempt, {
      agent: attempt.agent,
      input,
      ...hashPurchase(attempt.agent, text, request),
    });
    const identity = {
      keyId: caller.keyId,
      idempotencyKey: request.idempotencyKey,
      requestHash: call.requestHash,
      keyedHash: call.keyedHash,
    };
    const buyer = { signal: request.signal, onChunk: request.onChunk };
    let isOwn = false;
    const result = await deps.running.share(call.callId, identity, buyer, (running) => {
      isOwn = true;
      return makeCall(call, running, deps);
    });
    return isOwn ? result : await joined(call, result, deps);
  } catch (error) {
    return refuse(attempt, error, deps);
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
    startedAt: new Date(deps.clock.now()),
    startedElapsed: deps.clock.elapsed(),
  };
}

async function makeCall(call: Call, running: RunningCall, deps: CallDeps): Promise<CallResult> {
  try {
    for (;;) {
      const opened = await openCall(call, running, deps);
      if (opened.kind === 'replay') {
        recordEnd(call, { outcome: 'replayed', replayOf: opened.result.receipt.callId }, deps);
        return opened.result;
      }

      const priced = await priceCall(call, deps);
      const amountMicros = mostItMayCost(priced);
      const ttlMs = holdTtlMs(call.agent);
      let entry: GateAnswer | undefined;
      let hold: HoldPlaced | undefined;
      try {
        entry = await deps.gate.enter({ caller: call.caller, callId: call.callId, amountMicros, ttlMs });
        const decision = decide({
          priceMaxMicros: amountMicros,
          caps: call.caller.caps,
          requestMaxMicros: call.request.maxMicros,
          gate: entry,
        });
        if (decision.kind !== 'allow') throw decision.problem;
        if (running.signal.aborted) throw new Problem('CANCELLED', 'The call was cancelled before it began.');

        // Written and signed while the ledger places the hold. The agent hears of it after that.
        const prepared = prepareForward(call, running, deps);
        // Above this line a refusal costs nothing and moves nothing. Below it credits are on hold.
        const placed = await placeHold(call, amountMicros, ttlMs, deps);
        if (placed.kind === 'key_taken') continue;
        hold = placed;
        return await runHeldCall(priced, hold, prepared, running, deps);
      } finally {
        if (entry?.kind === 'entered') entry.leave(hold?.givenBackMicros ?? amountMicros);
        if (priced.isFree && !hold) await giveBackFreeCall(priced, deps);
      }
    }
  } catch (error) {
    return refuse(call, error, deps);
  }
}

function prepareForward(call: Call, running: RunningCall, deps: CallDeps): PreparedCall {
  const { agent, request } = call;
  const { endpoint, capabilities } = agent.manifest;
  return deps.upstream.prepare({
    endpoint,
    input: call.input,
    callId: call.callId,
    requestId: request.requestId,
    timeoutMs: agent.timeoutMs,
    maxBytes: agent.maxPayloadBytes,
    signal: running.signal,
    ...(capabilities?.streaming === true ? { onChunk: running.emit } : {}),
  });
}

/** The call another request was already making: it is that one that is paid for. */
async function joined(call: Call, result: CallResult, deps: CallDeps): Promise<CallResult> {
  if (result.kind === 'problem') {
    recordEnd(call, { outcome: 'refused', code: result.problem.code }, deps);
    return result;
  }
  await nameForRetries(call, result.receipt.callId, deps);
  recordEnd(call, { outcome: 'replayed', replayOf: result.receipt.callId }, deps);
  return { ...result, isReplay: true };
}

/** Hidden, suspended, filtered out or never there: the answer is the same, so it tells nothing. */
function findAgent(request: PaidCallRequest, deps: CallDeps): Agent {
  const agent = deps.catalog.find(request.agentId);
  if (agent && matchesFilters(agent, request.filters)) return agent;
  throw new Problem(
    'NOT_FOUND',
    'There is no such agent here. List the tools again, or search with GET /v1/agents/search.',
  );
}

function checkInput(agent: Agent, input: unknown): JsonObject {
  const faults = isJsonObject(input)
    ? agent.checkInput(input)
    : [{ path: '', message: 'must be a JSON object' }];
  if (faults.length === 0) return input as JsonObject;
  const told = faults.map((fault) => `${fault.path || '(root)'} ${fault.message}`).join('; ');
  throw new Problem('INVALID_INPUT', `The arguments do not match input_schema: ${told}`, { faults });
}

/** The canonical form of the arguments; undefined for what has none. */
function writeArguments(input: unknown): string | undefined {
  try {
    return isJsonObject(input) ? canonicalJson(input) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * What was asked, for the receipt, and what makes two requests the same purchase; the latter only where
 * something may be replayed or joined. A key stands for its arguments whatever the seller has published since; an answer is only handed over to a call
 * of the same version.
 */
function hashPurchase(
  agent: Agent,
  argumentsText: string | undefined,
  request: PaidCallRequest,
): Pick<Call, 'inputHash' | 'requestHash' | 'keyedHash'> {
  const runsOn =
    agent.manifest.capabilities?.idempotent === true || agent.manifest.capabilities?.keep_running === true;
  const isKeyed = request.idempotencyKey !== undefined;
  if (argumentsText === undefined) {
    // RFC 8785 has no form for half a surrogate pair, nor for a number beyond the doubles.
    const message = 'holds half a character or a number that is too large, so no receipt can name it';
    throw new Problem('INVALID_INPUT', `The arguments do not match input_schema: (root) ${message}`, {
      faults: [{ path: '', message }],
    });
  }
  const inputHash = hashText(argumentsText);
  return {
    inputHash,
    requestHash:
      isKeyed || runsOn ? hashJson({ agent: agent.id, version: agent.version, inputHash }) : undefined,
    keyedHash: isKeyed ? hashJson({ agent: agent.id, inputHash }) : undefined,
  };
}

const HOLD_MARGIN_MS = 60_000;

/** A hold outlives every answer that may still be paid for, and then the sweeper takes it. */
function holdTtlMs(agent: Agent): number {
  return agent.timeoutMs + HOLD_MARGIN_MS;
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
