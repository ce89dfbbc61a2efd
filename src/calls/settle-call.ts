import { receiptPayload, receiptTemplate, type SignedReceipt } from '../audit/receipts.ts';
import { hashJson } from '../base/canonical-json.ts';
import { invariant } from '../base/invariant.ts';
import type { Json } from '../base/json.ts';
import { traceOf } from '../base/log.ts';
import { formatCredits, MICROS_PER_CREDIT, parseCredits, splitPrice } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import type { ReceiptTemplate } from '../base/receipt.ts';
import type { Price } from '../catalog/agent.ts';
import { problemOfThrown } from '../db/thrown-problem.ts';
import type { Usage } from '../upstream/upstream.ts';
import type { CallResult, HeldCall } from './call.ts';
import type { Owed } from './delivery.ts';
import type { CallDeps } from './deps.ts';
import { keepLinkedResources } from './linked-resources.ts';
import type { AnswerKeeper } from './keep-answer.ts';
import { OUTCOMES, type Verdict } from './outcome.ts';
import { recordEnd, type CallTimes } from './record-end.ts';

/** A call whose hold is resolved. `chargedMicros` is zero for a refund. */
export type CallEnded = { result: CallResult; chargedMicros: bigint };

type Settle = Extract<Verdict, { kind: 'settle' }>;
type Refund = Extract<Verdict, { kind: 'refund' }>;

/** Pays seller and platform for a valid answer; refunds it when the answer came too late to be paid for. */
export async function settleCall(
  call: HeldCall,
  verdict: Settle,
  times: CallTimes,
  keeper: AnswerKeeper,
  deps: CallDeps,
): Promise<CallEnded> {
  const { answer } = verdict;
  try {
    // An answer whose links lead nowhere is not worth its price, so that they can be read is seen to first.
    const bought = { callId: call.callId, keyId: call.caller.keyId, agentId: call.agent.id };
    await keepLinkedResources(deps.db, bought, answer.content);
    await keeper.beforePaid(answer);
  } catch (error) {
    return refundCall(call, failedVerdict(call, error, deps), times, keeper, deps);
  }
  const paid = await pay(call, verdict.usage, hashOutput(answer.output), deps);
  if (!paid) return refundCall(call, tooLate(call), times, keeper, deps);

  const { isDelivered } = await keeper.oncePaid(answer);
  recordEnd(call, { outcome: 'settled', ...paid.money, isDelivered, times }, deps);
  const receipt = await deps.receipts.sign(call.callId, paid.receipt);
  const { chargedMicros } = paid.money;
  return { result: { kind: 'answer', answer, receipt, isReplay: false }, chargedMicros };
}

/** Pays for what was delivered of a metered stream whose buyer has left. */
export async function settleDelivered(
  call: HeldCall,
  { usage, outputHash }: Owed,
  times: CallTimes,
  keeper: AnswerKeeper,
  deps: CallDeps,
): Promise<CallEnded> {
  const paid = await pay(call, usage, outputHash, deps);
  if (!paid) return refundCall(call, tooLate(call), times, keeper, deps);

  recordEnd(call, { outcome: 'settled', ...paid.money, isDelivered: true, times }, deps);
  await keeper.drop();
  const receipt = await receiptOrLog(deps.receipts.sign(call.callId, paid.receipt), call, deps);
  const { chargedMicros } = paid.money;
  const unit = call.price.kind === 'per_unit' ? call.price.unit : 'unit';
  const problem = new Problem(
    OUTCOMES.left_stream.code,
    `The call was cancelled. ${formatCredits(chargedMicros)} credits were charged for what had been delivered: ${usage.quantity} (${unit}).`,
  );
  const result: CallResult = { kind: 'problem', problem, chargedMicros, ...(receipt ? { receipt } : {}) };
  return { result, chargedMicros };
}

type Paid = {
  money: { heldMicros: bigint; chargedMicros: bigint; feeMicros: bigint; isOverReported: boolean };
  receipt: string;
};

/** Moves the money; undefined when the hold was resolved otherwise before, or had expired. */
async function pay(
  call: HeldCall,
  usage: Usage | undefined,
  outputHash: string | undefined,
  deps: CallDeps,
): Promise<Paid | undefined> {
  const { heldMicros } = call;
  const usedMicros = priceOfWork(call.price, usage);
  // Never more than held: an agent that says it did more than its most is paid its most, a free call nothing.
  const chargedMicros = usedMicros < heldMicros ? usedMicros : heldMicros;
  const { feeMicros } = splitPrice(chargedMicros, deps.feeBasisPoints);
  const template = templateOf(call, { heldMicros, chargedMicros, feeMicros, outputHash }, deps);
  const resolved = await deps.ledger.settle(call.callId, chargedMicros, feeMicros, {
    buyer: call.caller.accountId,
    template,
  });
  if (resolved.kind === 'lost') return undefined;
  invariant(resolved.place, `the settled call ${call.callId} has a receipt`);
  const isOverReported = usedMicros > call.price.maxMicros;
  return {
    money: { heldMicros, chargedMicros, feeMicros, isOverReported },
    receipt: receiptPayload(template, resolved.place),
  };
}

/** Gives the whole hold back. */
export async function refundCall(
  call: HeldCall,
  verdict: Refund,
  times: CallTimes,
  keeper: AnswerKeeper,
  deps: CallDeps,
): Promise<CallEnded> {
  const { heldMicros } = call;
  const { problem } = verdict;
  const money = { heldMicros, chargedMicros: 0n, feeMicros: 0n };
  const template = templateOf(call, { ...money, code: problem.code }, deps);
  const resolved = await deps.ledger.refund(call.callId, { buyer: call.caller.accountId, template });
  // `lost` says that the sweeper refunded it first, which is the same thing to everyone; it wrote the receipt.
  const receipt = await receiptOrLog(
    resolved.kind === 'done' && resolved.place
      ? deps.receipts.sign(call.callId, receiptPayload(template, resolved.place))
      : deps.receipts.find(call.callId),
    call,
    deps,
  );
  recordEnd(call, { outcome: 'refunded', heldMicros, code: problem.code, times }, deps);
  await keeper.drop();
  return { result: { ...verdict, kind: 'problem', ...(receipt ? { receipt } : {}) }, chargedMicros: 0n };
}

/** What becomes of a held call when something threw. */
export function failedVerdict(call: HeldCall, error: unknown, deps: CallDeps): Refund {
  deps.log('error', 'a held call failed', { call: call.callId, error: traceOf(error) });
  return { kind: 'refund', problem: problemOfThrown(error) };
}

function tooLate(call: HeldCall): Refund {
  const message = `The answer of ${call.agent.id} came too late to be paid for. You were not charged.`;
  return { kind: 'refund', problem: new Problem('TIMEOUT', message) };
}

/** The call's receipt but for its place in the chain, which the ledger gives it. */
function templateOf(
  call: HeldCall,
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

/** A fixed price, or what a metered agent says it used, rounded down. */
function priceOfWork(price: Price, usage: Usage | undefined): bigint {
  if (price.kind === 'per_call') return price.maxMicros;
  // Quantities have the six places credits have, so the same parser reads them.
  const quantityMicros = parseCredits(usage?.quantity ?? '0') ?? 0n;
  return (price.unitMicros * quantityMicros) / MICROS_PER_CREDIT;
}

/** A refund is told without its receipt rather than not at all. */
async function receiptOrLog(
  receipt: Promise<SignedReceipt | undefined>,
  call: HeldCall,
  deps: CallDeps,
): Promise<SignedReceipt | undefined> {
  try {
    return await receipt;
  } catch (error) {
    deps.log('warn', 'a refund was told without its receipt', { call: call.callId, error: String(error) });
    return undefined;
  }
}
