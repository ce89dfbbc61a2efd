import pg from 'pg';
import { createBatcher } from '../base/batcher.ts';
import { invariant } from '../base/invariant.ts';
import type { Log } from '../base/log.ts';
import { createPatience } from '../base/patience.ts';
import { Problem } from '../base/problem.ts';
import type { ReceiptTemplate } from '../base/receipt.ts';
import { arraysOf, bigintArray, intArray, textArray, uuidArray } from '../db/binary-array.ts';

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
  meterId: bigint | undefined;
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

/** One character a hold or resolution, as `ledger_apply` answers it. */
export type LedgerCode = string;

type Item =
  | { kind: 'hold'; order: HoldOrder; giveUpAt: number; isAbandoned: boolean }
  | { kind: 'resolution'; order: ResolutionOrder };

export type GroupCommit = {
  hold(order: HoldOrder): Promise<LedgerCode>;
  resolve(order: ResolutionOrder): Promise<Resolution>;
  depth(): number;
  close(): Promise<void>;
};

const MAX_BATCH = 1_000;
// The server finds the next batch on the wire when it is done with one, and works while this process tells the one.
const IN_FLIGHT = 2;
// A batch costs the server about 200 µs whatever is in it. Under load, where every answer waits for the CPU
// anyway, five milliseconds between batches save half of that cost; a lone caller never waits.
const SPACING = { ms: 5, busyAt: 4, enough: 48 };
const MAX_QUEUED = 20_000;
const HOLD_PATIENCE_MS = 8_000;
const RETRY_FIRST_MS = 20;
const RETRY_MOST_MS = 1_000;

// A generic plan made while the hold table was empty would scan it for ever, and a hash join between two
// unnests of a thousand rows costs twice what the indexes do.
const SESSION = `SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan; SET jit = off; SET lock_timeout = '2s'; SET statement_timeout = '3s';`;
// The second function runs on the first one's answer. What is volatile in a subquery is done once, and first.
const APPLY = `SELECT batch.codes, receipts_append($2, $22, $23, $24, $25, batch.codes) AS places
FROM (SELECT ledger_apply($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21) AS codes) AS batch`;
type BatchRow = { codes: string; places: string };
// Longer than the server's own limit for this batch and the one in front, and short enough that a hold whose
// connection went dead is tried again while its buyer waits.
const QUERY_TIMEOUT_MS = 7_000;
const END_SESSION_MS = 2_000;

/**
 * Every hold, settle and refund of this process goes through one connection, as one statement and transaction a
 * batch: while batches are in flight the next one collects. One connection is enough and more gain nothing on a
 * local server (measured); what limits is the commit, and it is shared.
 *
 * When a connection breaks, whether its batches were committed is unknown. The same batches with the same ids are
 * sent again, marked as retries, until the answer is known: unknown is never reported as failed. In which order two
 * of them commit makes no difference: nobody asks to resolve a hold before he was told that it is placed.
 */
export function createGroupCommit(
  url: string,
  options: { log: Log; idempotencyTtlSeconds: number },
): GroupCommit {
  let client: pg.Client | undefined;
  let opening: Promise<pg.Client> | undefined;
  let previous: Session | undefined;
  let closing = false;

  async function connection(): Promise<pg.Client> {
    if (client) return client;
    // Batches that find it broken together wait for the same new one.
    opening ??= open().finally(() => {
      opening = undefined;
    });
    return opening;
  }

  async function open(): Promise<pg.Client> {
    const fresh = new pg.Client({
      connectionString: url,
      application_name: 'sentinel ledger',
      keepAlive: true,
      pipeline: true,
      connectionTimeoutMillis: 3_000,
      query_timeout: QUERY_TIMEOUT_MS,
    });
    fresh.on('error', () => drop(fresh));
    try {
      await fresh.connect();
      await fresh.query(SESSION);
      await endSession(fresh, previous);
      previous = await sessionOf(fresh);
    } catch (error) {
      // A connection that is not used must not be left open: there will be one for every attempt.
      drop(fresh);
      throw error;
    }
    client = fresh;
    return fresh;
  }

  function drop(broken: pg.Client): void {
    if (client === broken) client = undefined;
    // The server may still be working for the old connection; ending it is best effort.
    broken.end().catch(() => {});
  }

  async function send(items: Item[], isRetry: boolean): Promise<Resolution[]> {
    const used = await connection();
    const batch = split(items);
    try {
      const { rows } = await used.query<BatchRow>({
        name: 'ledger_apply',
        text: APPLY,
        values: parameters(batch, isRetry, options.idempotencyTtlSeconds),
      });
      const [row] = rows;
      invariant(row, 'a batch is answered');
      return answersInOrder(items, batch, row);
    } catch (error) {
      if (isOutcomeUnknown(error)) drop(used);
      throw error;
    }
  }

  async function flush(items: Item[], wasSent = false): Promise<Resolution[]> {
    let isRetry = wasSent;
    for (let waitMs = RETRY_FIRST_MS; ; waitMs = Math.min(waitMs * 2, RETRY_MOST_MS)) {
      abandonImpatient(items);
      try {
        return await send(items, isRetry);
      } catch (error) {
        if (!isOutcomeUnknown(error)) return bisect(items, isRetry, error);
        isRetry = true;
        options.log('warn', 'the ledger could not reach its database; trying again', {
          error: messageOf(error),
        });
        if (closing) throw error;
        await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
    }
  }

  /** One bad order must not fail the others of its batch: halve until it stands alone. */
  async function bisect(items: Item[], isRetry: boolean, error: unknown): Promise<Resolution[]> {
    if (items.length === 1) {
      options.log('error', 'the ledger refused a statement', { error: messageOf(error) });
      return [{ code: '!', place: undefined }];
    }
    const middle = items.length >> 1;
    const answers: Resolution[] = [];
    for (const half of [items.slice(0, middle), items.slice(middle)]) {
      try {
        answers.push(...(await send(half, isRetry)));
      } catch (cause) {
        // What was sent may have been committed: the first thing to be sent now is already a retry.
        if (isOutcomeUnknown(cause)) answers.push(...(await flush(half, true)));
        else answers.push(...(await bisect(half, isRetry, cause)));
      }
    }
    return answers;
  }

  const withPatience = createPatience(HOLD_PATIENCE_MS);
  const batcher = createBatcher((items: Item[]) => flush(items), {
    maxBatch: MAX_BATCH,
    inFlight: IN_FLIGHT,
    spacing: SPACING,
  });

  return {
    hold: async (order) => {
      if (closing || batcher.depth() > MAX_QUEUED) throw overloaded();
      const item: Item = {
        kind: 'hold',
        order,
        giveUpAt: performance.now() + HOLD_PATIENCE_MS,
        isAbandoned: false,
      };
      const answer = batcher.add(item);
      // Undefined when the ledger has not answered while its buyer waited.
      const answered = await withPatience(answer);
      if (answered !== undefined && answered.code !== '~') return answered.code;
      // It may be committed by an attempt whose answer was lost, or by one still to come, so it is given
      // back once that is known. Code 0 (there was none) is as good as code 1.
      answer
        .then(() => batcher.add({ kind: 'resolution', order: refundOf(order) }))
        .catch(() => {
          // Closed before the database came back: should a hold be there, the sweeper takes it.
        });
      throw overloaded();
    },
    resolve: (order) => batcher.add({ kind: 'resolution', order }),
    depth: () => batcher.depth(),
    close: async () => {
      closing = true;
      await batcher.drain();
      await client?.end().catch(() => {});
    },
  };
}

/** A connection as the server knows it; the start tells it from a later one with the same process id. */
type Session = { pid: number; startedAt: string };

async function sessionOf(client: pg.Client): Promise<Session | undefined> {
  const { rows } = await client.query<Session>(
    `SELECT pid, backend_start::text AS "startedAt" FROM pg_stat_activity WHERE pid = pg_backend_pid()`,
  );
  return rows[0];
}

/**
 * A batch that was sent over a connection that broke may still be on its way, or at work. Were it to arrive
 * after its retry, and after those holds were settled, it would open them a second time. So the server ends
 * the old session before anything is sent over the new one: from then on it has committed, or never will.
 */
async function endSession(client: pg.Client, session: Session | undefined): Promise<void> {
  if (!session) return;
  await client.query(
    'SELECT pg_terminate_backend(pid, $3) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2::timestamptz',
    [session.pid, session.startedAt, END_SESSION_MS],
  );
  const { rows } = await client.query(
    'SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2::timestamptz',
    [session.pid, session.startedAt],
  );
  if (rows.length > 0) throw new Error('the broken ledger connection is still at work');
}

function refundOf(order: HoldOrder): ResolutionOrder {
  return { callUuid: order.callUuid, kind: 'refund', chargeMicros: 0n, feeMicros: 0n };
}

function overloaded(): Problem {
  return new Problem(
    'UNAVAILABLE',
    'The ledger cannot take holds right now; nothing was charged. Try again shortly.',
    {
      retry_after_seconds: 2,
    },
  );
}

/** A buyer waits for a hold only so long; a resolution is carried on until it is known. */
function abandonImpatient(items: Item[]): void {
  const now = performance.now();
  for (const item of items) if (item.kind === 'hold' && item.giveUpAt < now) item.isAbandoned = true;
}

type Batch = { resolutions: ResolutionOrder[]; holds: HoldOrder[] };

// Row locks on open holds are taken in id order in every process, so two of them cannot deadlock.
function split(items: Item[]): Batch {
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
const METER_AND_TERMS_COLUMNS = [
  bigintArray((order: HoldOrder) => order.meterId ?? 0n),
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

function parameters(
  { resolutions, holds }: Batch,
  isRetry: boolean,
  idempotencyTtlSeconds: number,
): unknown[] {
  const { claims, isMetered } = whatIsRare(holds);
  const { balances, chainOf } = chainsOf(resolutions);
  return [
    isRetry,
    ...arraysOf(RESOLUTION_COLUMNS, resolutions),
    ...arraysOf(HOLD_COLUMNS, holds),
    isMetered,
    ...arraysOf(METER_AND_TERMS_COLUMNS, holds),
    ...arraysOf(CLAIM_COLUMNS, claims),
    `${idempotencyTtlSeconds} seconds`,
    balancesOf(balances),
    placesInBalances(chainOf),
    ...arraysOf(RECEIPT_COLUMNS, resolutions),
  ];
}

/** An idempotency key that the hold at this place, from 1, claims. */
type Claim = { ord: number; key: string; requestHash: string };

function whatIsRare(holds: HoldOrder[]): { claims: Claim[]; isMetered: boolean } {
  const claims: Claim[] = [];
  let isMetered = false;
  for (const [index, { idempotency, meterId }] of holds.entries()) {
    if (idempotency !== undefined) claims.push({ ord: index + 1, ...idempotency });
    isMetered ||= meterId !== undefined;
  }
  return { claims, isMetered };
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
function answersInOrder(items: Item[], { resolutions }: Batch, { codes, places }: BatchRow): Resolution[] {
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
    if (item.kind === 'resolution') answers.push(answerOf.get(item.order) ?? { code: '!', place: undefined });
    else answers.push({ code: item.isAbandoned ? '~' : codes.charAt(hold++), place: undefined });
  }
  return answers;
}

/**
 * True when the statement may or may not have been committed, or was not committed but will be if it is
 * sent again: connection failures, shutdowns (57P), deadlock and serialization (40), lock waits (55P03),
 * a cancelled statement (57014) and resources that ran out (53).
 */
function isOutcomeUnknown(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return !/^[0-9A-Z]{5}$/.test(code) || /^(08|25006|40|53|57|55P03|58)/.test(code) || code === 'EPIPE';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
