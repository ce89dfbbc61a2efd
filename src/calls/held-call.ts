import { receiptPayload, receiptTemplate, type SignedReceipt } from '../audit/receipts.ts';
import { hashJson } from '../base/canonical-json.ts';
import { invariant } from '../base/invariant.ts';
import type { Json } from '../base/json.ts';
import { traceOf } from '../base/log.ts';
import type { ReceiptTemplate } from '../base/receipt.ts';
import { Problem } from '../base/problem.ts';
import { MICROS_PER_CREDIT, parseCredits, splitPrice } from '../base/money.ts';
import { problemOfThrown } from '../db/thrown-problem.ts';
import type { Price } from '../catalog/agent.ts';
import type { PreparedCall, UpstreamOutcome, Usage } from '../upstream/upstream.ts';
import type { CallAnswer, CallResult } from './call.ts';
import type { CallDeps } from './deps.ts';
import { keepLinkedResources } from './linked-resources.ts';
import { judge, type Verdict } from './outcome.ts';
import type { HoldPlaced } from './place-hold.ts';
import type { PricedCall } from './price-call.ts';
import { recordEnd } from './record-end.ts';
import type { RunningCall } from './running-calls.ts';

/**
 * Credits are on hold: forwards the call, judges the answer, and settles or refunds. The upstream returns
 * its failures instead of throwing them, and whatever throws here all the same ends in a refund; a crash
 * leaves an open hold, which the sweeper refunds.
 */
export async function runHeldCall(
  call: PricedCall,
  hold: HoldPlaced,
  prepared: PreparedCall,
  running: RunningCall,
  deps: CallDeps,
): Promise<CallResult> {
  const alone = letRunOn(call, running, deps);
  let verdict: Verdict;
  try {
    verdict = judge(await forward(call, prepared, deps), call.agent);
  } catch (error) {
    verdict = failure(call, error, deps);
  }
  // Nobody is left to answer and the call may not run on without a buyer: what the agent said is not paid.
  if (running.signal.aborted && verdict.kind === 'settle') {
    verdict = judge({ kind: 'cancelled' }, call.agent);
  }
  const result =
    verdict.kind === 'settle'
      ? await settle(call, hold, verdict, running, alone, deps)
      : await refund(call, hold, verdict, deps);
  if (result.kind === 'problem' && alone.wasAlone) {
    await alone.announced;
    await orLog(deps.results.drop(call.callId), 'a refunded call is still announced', call, deps);
  }
  return result;
}

/** `announced` ends when others were told that the call runs on: what is written then must not be undone by it. */
type Alone = { wasAlone: boolean; announced: Promise<void> };

/** A call that may run on does so when its buyers leave; the answer is then kept for the next identical one. */
function letRunOn(call: PricedCall, running: RunningCall, deps: CallDeps): Alone {
  const alone: Alone = { wasAlone: false, announced: Promise.resolve() };
  const { capabilities } = call.agent.manifest;
  if (capabilities?.idempotent === true || capabilities?.keep_running === true) {
    running.runOn(() => {
      alone.wasAlone = true;
      const expected = deps.results.expect(ownerOf(call), call.agent.timeoutMs);
      alone.announced = orLog(expected, 'a call that runs on was not announced', call, deps);
    });
  }
  return alone;
}

async function forward(call: PricedCall, prepared: PreparedCall, deps: CallDeps): Promise<UpstreamOutcome> {
  const before = deps.clock.elapsed();
  const outcome = await prepared.send();
  call.upstreamMs = deps.clock.elapsed() - before;
  return outcome;
}

async function settle(
  call: PricedCall,
  hold: HoldPlaced,
  verdict: Extract<Verdict, { kind: 'settle' }>,
  running: RunningCall,
  alone: Alone,
  deps: CallDeps,
): Promise<CallResult> {
  const usedMicros = priceOfWork(call.price, verdict.usage);
  // Never more than held: an agent that says it did more than its most is paid its most, a free call nothing.
  const chargedMicros = usedMicros < hold.heldMicros ? usedMicros : hold.heldMicros;
  const isOverReported = usedMicros > call.price.maxMicros;
  const { feeMicros } = splitPrice(chargedMicros, deps.feeBasisPoints);
  const template = templateOf(
    call,
    { heldMicros: hold.heldMicros, chargedMicros, feeMicros, outputHash: hashOutput(verdict.answer.output) },
    deps,
  );
  const { answer } = verdict;
  // An answer whose links lead nowhere is not worth its price, so that they can be read is seen to first.
  try {
    await keepLinkedResources(deps.db, whoseLinks(call), answer.content);
  } catch (error) {
    return refund(call, hold, failure(call, error, deps), deps);
  }
  // Before the money moves: a paid answer that somebody may come for must be there to be given. Should we
  // crash in between, the sweeper refunds and frees the key, and nobody finds the stored answer.
  let kept: 'nowhere' | 'for its key' | 'for handover' = 'nowhere';
  if (call.request.idempotencyKey !== undefined || !running.hasBuyer()) {
    kept = running.hasBuyer() ? 'for its key' : 'for handover';
    try {
      await alone.announced;
      await keep(kept, call, answer, deps);
    } catch (error) {
      return refund(call, hold, failure(call, error, deps), deps);
    }
  }

  const resolved = await deps.ledger.settle(call.callId, chargedMicros, feeMicros, {
    buyer: call.caller.accountId,
    template,
  });
  if (resolved.kind === 'lost') {
    // Nobody paid for it, so nobody may come and fetch it.
    if (kept !== 'nowhere') {
      await orLog(deps.results.drop(call.callId), 'an unpaid answer is still kept', call, deps);
    }
    return refund(
      call,
      hold,
      {
        kind: 'refund',
        problem: new Problem(
          'TIMEOUT',
          `The answer of ${call.agent.id} came too late to be paid for. You were not charged.`,
        ),
      },
      deps,
    );
  }
  hold.givenBackMicros = hold.heldMicros - chargedMicros;
  // It is paid for from here on: what fails below is ours, and never takes the answer from its buyer.
  await alone.announced;
  const isDelivered = running.hasBuyer();
  // One that waits for the next buyer may have been taken by now, and is not put out a second time.
  const wanted = isDelivered ? (alone.wasAlone ? 'for its key' : kept) : 'for handover';
  if (wanted !== kept && wanted !== 'nowhere') {
    await orLog(keep(wanted, call, answer, deps), 'an answer could not be kept', call, deps);
  }
  const { heldMicros } = hold;
  const money = { heldMicros, chargedMicros, feeMicros };
  recordEnd(call, { outcome: 'settled', ...money, isOverReported, isDelivered }, deps);
  invariant(resolved.place, `the settled call ${call.callId} has a receipt`);
  const receipt = await deps.receipts.sign(call.callId, receiptPayload(template, resolved.place));
  return { kind: 'answer', answer, receipt, isReplay: false };
}

function keep(
  place: 'for its key' | 'for handover',
  call: PricedCall,
  answer: CallAnswer,
  deps: CallDeps,
): Promise<void> {
  return place === 'for its key'
    ? deps.results.keep(ownerOf(call), answer)
    : deps.results.keepForHandover(ownerOf(call), answer);
}

async function refund(
  call: PricedCall,
  hold: HoldPlaced,
  verdict: Extract<Verdict, { kind: 'refund' }>,
  deps: CallDeps,
): Promise<CallResult> {
  const template = templateOf(
    call,
    { heldMicros: hold.heldMicros, chargedMicros: 0n, feeMicros: 0n, code: verdict.problem.code },
    deps,
  );
  const resolved = await deps.ledger.refund(call.callId, { buyer: call.caller.accountId, template });
  hold.givenBackMicros = hold.heldMicros;
  // `lost` says that the sweeper refunded it first, which is the same thing to everyone; it wrote the receipt.
  let receipt: SignedReceipt | undefined;
  const told = async (): Promise<void> => {
    receipt =
      resolved.kind === 'done' && resolved.place
        ? await deps.receipts.sign(call.callId, receiptPayload(template, resolved.place))
        : await deps.receipts.find(call.callId);
  };
  await orLog(told(), 'a refund was told without its receipt', call, deps);
  recordEnd(call, { outcome: 'refunded', heldMicros: hold.heldMicros, code: verdict.problem.code }, deps);
  return { ...verdict, kind: 'problem', ...(receipt ? { receipt } : {}) };
}

/** The call's receipt but for its place in the chain, which the ledger gives it. */
function templateOf(
  call: PricedCall,
  ended: {
    heldMicros: bigint;
    chargedMicros: bigint;
    feeMicros: bigint;
    outputHash?: string | undefined;
    code?: string;
  },
  deps: CallDeps,
): ReceiptTemplate {
  return receiptTemplate({
    callId: call.callId,
    agentId: call.agent.id,
    agentVersion: call.agent.version,
    manifestHash: call.agent.manifestHash,
    organizationId: call.caller.organizationId,
    keyId: call.caller.keyId,
    currency: call.caller.currency,
    inputHash: call.inputHash,
    startedAt: call.startedAt.toISOString(),
    endedAt: new Date(deps.clock.now()).toISOString(),
    outputHash: undefined,
    code: undefined,
    ...ended,
  });
}

/** Undefined for an output RFC 8785 has no form for: half a surrogate pair in a text. */
function hashOutput(output: Json): string | undefined {
  try {
    return hashJson(output);
  } catch {
    return undefined;
  }
}

function failure(call: PricedCall, error: unknown, deps: CallDeps): Extract<Verdict, { kind: 'refund' }> {
  deps.log('error', 'a held call failed', {
    call: call.callId,
    error: traceOf(error),
  });
  return { kind: 'refund', problem: problemOfThrown(error) };
}

/** For what is good to have done and must not change how the call ends. */
async function orLog(work: Promise<void>, message: string, call: PricedCall, deps: CallDeps): Promise<void> {
  try {
    await work;
  } catch (error) {
    deps.log('warn', message, { call: call.callId, error: String(error) });
  }
}

/** A fixed price, or what a metered agent says it used, rounded down. */
function priceOfWork(price: Price, usage: Usage | undefined): bigint {
  if (price.kind === 'per_call') return price.maxMicros;
  // Quantities have the six places credits have, so the same parser reads them.
  const quantityMicros = parseCredits(usage?.quantity ?? '0') ?? 0n;
  return (price.unitMicros * quantityMicros) / MICROS_PER_CREDIT;
}

function whoseLinks({ callId, caller, agent }: PricedCall) {
  return { callId, keyId: caller.keyId, agentId: agent.id };
}

function ownerOf(call: PricedCall) {
  return { callId: call.callId, keyId: call.caller.keyId, requestHash: call.requestHash ?? call.callId };
}
