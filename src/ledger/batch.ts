import { GIVEN_UP, REFUSED, type LedgerCode } from './codes.ts';
import type { ReceiptTemplate } from '../base/receipt.ts';
import { arraysOf, bigintArray, intArray, textArray, uuidArray } from '../db/binary-array.ts';

/* The holds and resolutions of one statement: what is asked, how it is written, and how the answers are read. */

/** What one hold asks for. Amounts in micro-credits, accounts by id. */
export type HoldOrder = {
  /** The call's id as 32 hex digits. */
  callUuid: string;
  buyer: bigint;
  seller: bigint;
  fees: bigint;
  amountMicros: bigint;
  ttlMs: number;
  keyId: string;
  agentId: string;
  /** For the receipt of a hold that nobody resolves; without them it has none. */
  terms?: { agentVersion: string; inputHash: string };
  /** What counts it beside its balance's own meter; those of one hold are looked at in this order. */
  meters: readonly bigint[];
  idempotency: { key: string; requestHash: string } | undefined;
};

/** How an open hold is to end. A refund charges nothing. */
export type ResolutionOrder = {
  callUuid: string;
  kind: 'settle' | 'refund';
  chargeMicros: bigint;
  feeMicros: bigint;
  /** Filed in the buyer's chain in the same statement, when it is this order that resolves the hold. */
  receipt?: ReceiptOrder;
};

/** A receipt for the chain of the buyer's balance. The database gives it its place. */
export type ReceiptOrder = { buyer: bigint; template: ReceiptTemplate };

/** Where a receipt stands in its chain. */
export type ReceiptPlace = { prev: string; seq: string };

export type Resolution = { code: LedgerCode; place: ReceiptPlace | undefined };

/**
 * What one batch is made of: whoever waits for a hold gives up at that time of `performance.now()`. What was sent
 * may be committed although its answer was lost.
 */
export type Item = { wasSent: boolean } & (
  | { kind: 'hold'; order: HoldOrder; giveUpAt: number; isAbandoned: boolean }
  | { kind: 'resolution'; order: ResolutionOrder }
);

// The second function runs on the first one's answer. What is volatile in a subquery is done once, and first.
const APPLY = `SELECT batch.codes, receipts_append($2, $22, $23, $24, $25, batch.codes) AS places
FROM (SELECT ledger_apply($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21) AS codes) AS batch`;
/** One character for each resolution and then each hold; the resolutions' receipts, first all `prev`, then all `seq`. */
export type BatchRow = { codes: string; places: string };

export type Batch = { resolutions: ResolutionOrder[]; holds: HoldOrder[] };

// Row locks on open holds are taken in id order in every process, so two of them cannot deadlock.
export function batchOf(items: readonly Item[]): Batch {
  const resolutions: ResolutionOrder[] = [];
  const holds: HoldOrder[] = [];
  for (const item of items) {
    if (item.kind === 'resolution') resolutions.push(item.order);
    else if (!item.isAbandoned) holds.push(item.order);
  }
  resolutions.sort(byCallUuid);
  return { resolutions, holds };
}

function byCallUuid(a: ResolutionOrder, b: ResolutionOrder): number {
  return a.callUuid < b.callUuid ? -1 : 1;
}

// In the order of the statement's parameters.
const RESOLUTION_COLUMNS = [
  uuidArray((order: ResolutionOrder) => order.callUuid),
  textArray((order: ResolutionOrder) => order.kind),
  bigintArray((order: ResolutionOrder) => order.chargeMicros),
  bigintArray((order: ResolutionOrder) => order.feeMicros),
];
const HOLD_COLUMNS = [
  uuidArray((order: HoldOrder) => order.callUuid),
  bigintArray((order: HoldOrder) => order.buyer),
  bigintArray((order: HoldOrder) => order.seller),
  bigintArray((order: HoldOrder) => order.fees),
  bigintArray((order: HoldOrder) => order.amountMicros),
  bigintArray((order: HoldOrder) => BigInt(Math.round(order.ttlMs))),
  textArray((order: HoldOrder) => order.keyId),
  textArray((order: HoldOrder) => order.agentId),
];
const COUNT_COLUMNS = [intArray((count: Count) => count.ord), bigintArray((count: Count) => count.meter)];
const TERMS_COLUMNS = [
  textArray((order: HoldOrder) => order.terms?.agentVersion ?? null),
  textArray((order: HoldOrder) => order.terms?.inputHash ?? null),
];
const CLAIM_COLUMNS = [
  intArray((claim: Claim) => claim.ord),
  textArray((claim: Claim) => claim.key),
  textArray((claim: Claim) => claim.requestHash),
];
const balancesOf = bigintArray((balance: bigint) => balance);
const placesInBalances = intArray((place: number) => place);
const RECEIPT_COLUMNS = [
  textArray((order: ResolutionOrder) => order.receipt?.template.before ?? null),
  textArray((order: ResolutionOrder) => order.receipt?.template.after ?? null),
];

/** A retry is told to look for what an earlier attempt may have done. */
export function statementOf(
  { resolutions, holds }: Batch,
  isRetry: boolean,
  idempotencyTtlMs: number,
): { name: string; text: string; values: unknown[] } {
  const { claims, counts } = whatIsRare(holds);
  const { balances, chainOf } = chainsOf(resolutions);
  const values = [
    isRetry,
    ...arraysOf(RESOLUTION_COLUMNS, resolutions),
    ...arraysOf(HOLD_COLUMNS, holds),
    ...arraysOf(COUNT_COLUMNS, counts),
    ...arraysOf(TERMS_COLUMNS, holds),
    ...arraysOf(CLAIM_COLUMNS, claims),
    `${idempotencyTtlMs} milliseconds`,
    balancesOf(balances),
    placesInBalances(chainOf),
    ...arraysOf(RECEIPT_COLUMNS, resolutions),
  ];
  return { name: 'ledger_apply', text: APPLY, values };
}

/** An idempotency key that the hold at this place, from 1, claims. */
type Claim = { ord: number; key: string; requestHash: string };

/** A meter that counts the hold at this place, from 1. */
type Count = { ord: number; meter: bigint };

function whatIsRare(holds: HoldOrder[]): { claims: Claim[]; counts: Count[] } {
  const claims: Claim[] = [];
  const counts: Count[] = [];
  for (const [index, { idempotency, meters }] of holds.entries()) {
    if (idempotency !== undefined) claims.push({ ord: index + 1, ...idempotency });
    for (const meter of meters) counts.push({ ord: index + 1, meter });
  }
  return { claims, counts };
}

/** The balances that get receipts, each once, and which of them each resolution's is for, from 1; 0 without one. */
function chainsOf(resolutions: ResolutionOrder[]): { balances: bigint[]; chainOf: number[] } {
  const chains = new Map<bigint, number>();
  const chainOf: number[] = [];
  for (const { receipt } of resolutions) {
    if (receipt && !chains.has(receipt.buyer)) chains.set(receipt.buyer, chains.size + 1);
    chainOf.push((receipt && chains.get(receipt.buyer)) ?? 0);
  }
  return { balances: [...chains.keys()], chainOf };
}

/** The answers in the order the items were asked in, which for resolutions is not the order they were sent in. */
export function answersInOrder(
  items: readonly Item[],
  { resolutions }: Batch,
  { codes, places }: BatchRow,
): Resolution[] {
  const [prevs, seqs] = places.split('\n');
  const prevOf = prevs?.split(',') ?? [];
  const seqOf = seqs?.split(',') ?? [];
  const answerOf = new Map<ResolutionOrder, Resolution>();
  for (const [index, order] of resolutions.entries()) {
    const [prev, seq] = [prevOf[index], seqOf[index]];
    answerOf.set(order, { code: codes.charAt(index), place: prev && seq ? { prev, seq } : undefined });
  }
  let hold = resolutions.length;
  const answers: Resolution[] = [];
  for (const item of items) {
    if (item.kind === 'resolution')
      answers.push(answerOf.get(item.order) ?? { code: REFUSED, place: undefined });
    else answers.push({ code: item.isAbandoned ? GIVEN_UP : codes.charAt(hold++), place: undefined });
  }
  return answers;
}
