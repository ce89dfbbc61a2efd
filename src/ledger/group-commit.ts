import pg from 'pg';
import { createBatcher } from '../base/batcher.ts';
import type { Log } from '../base/log.ts';
import { Problem } from '../base/problem.ts';

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
  meterId: bigint | undefined;
  idempotency: { key: string; requestHash: string } | undefined;
};

/** How an open hold is to end. A refund charges nothing. */
export type ResolutionOrder = {
  callUuid: string;
  kind: 'settle' | 'refund';
  chargeMicros: bigint;
  feeMicros: bigint;
};

/** One character a hold or resolution, as `ledger_apply` answers it. */
export type LedgerCode = string;

type Item =
  | { kind: 'hold'; order: HoldOrder; giveUpAt: number; isAbandoned: boolean }
  | { kind: 'resolution'; order: ResolutionOrder };

export type GroupCommit = {
  hold(order: HoldOrder): Promise<LedgerCode>;
  resolve(order: ResolutionOrder): Promise<LedgerCode>;
  depth(): number;
  close(): Promise<void>;
};

const MAX_BATCH = 1_000;
const MAX_QUEUED = 20_000;
const HOLD_PATIENCE_MS = 8_000;
const RETRY_FIRST_MS = 20;
const RETRY_MOST_MS = 1_000;

// A generic plan made while the hold table was empty would scan it for ever, and a hash join between two
// unnests of a thousand rows costs twice what the indexes do.
const SESSION = `SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan; SET jit = off; SET lock_timeout = '2s'; SET statement_timeout = '5s';`;
const QUERY_TIMEOUT_MS = 7_000;

/**
 * Every hold, settle and refund of this process goes through one connection, as one statement a batch: while
 * a batch is in flight the next one collects. One connection is enough and more gain nothing on a local
 * server (measured); what limits is the commit, and it is shared.
 *
 * When a connection breaks, whether its batch was committed is unknown. The same batch with the same ids is
 * sent again, marked as a retry, until the answer is known: unknown is never reported as failed.
 */
export function createGroupCommit(url: string, options: { log: Log; idempotencyTtlSeconds: number }): GroupCommit {
  let client: pg.Client | undefined;
  let closing = false;

  async function connection(): Promise<pg.Client> {
    if (client) return client;
    const fresh = new pg.Client({
      connectionString: url,
      application_name: 'sentinel ledger',
      keepAlive: true,
      connectionTimeoutMillis: 3_000,
      query_timeout: QUERY_TIMEOUT_MS,
    });
    fresh.on('error', () => drop(fresh));
    await fresh.connect();
    await fresh.query(SESSION);
    client = fresh;
    return fresh;
  }

  function drop(broken: pg.Client): void {
    if (client === broken) client = undefined;
    // The server may still be working for the old connection; ending it is best effort.
    broken.end().catch(() => {});
  }

  async function send(items: Item[], isRetry: boolean): Promise<LedgerCode[]> {
    const used = await connection();
    try {
      const { rows } = await used.query<{ settle_codes: string; hold_codes: string }>({
        name: 'ledger_apply',
        text: 'SELECT * FROM ledger_apply($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19)',
        values: parameters(items, isRetry, options.idempotencyTtlSeconds),
      });
      return codesInOrder(items, rows[0]?.settle_codes ?? '', rows[0]?.hold_codes ?? '');
    } catch (error) {
      if (isOutcomeUnknown(error)) drop(used);
      throw error;
    }
  }

  async function flush(items: Item[]): Promise<LedgerCode[]> {
    let isRetry = false;
    for (let waitMs = RETRY_FIRST_MS; ; waitMs = Math.min(waitMs * 2, RETRY_MOST_MS)) {
      abandonImpatient(items);
      try {
        return await send(items, isRetry);
      } catch (error) {
        if (!isOutcomeUnknown(error)) return bisect(items, isRetry, error);
        isRetry = true;
        options.log('warn', 'the ledger could not reach its database; trying again', { error: messageOf(error) });
        if (closing) throw error;
        await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
    }
  }

  /** One bad order must not fail the others of its batch: halve until it stands alone. */
  async function bisect(items: Item[], isRetry: boolean, error: unknown): Promise<LedgerCode[]> {
    if (items.length === 1) {
      options.log('error', 'the ledger refused a statement', { error: messageOf(error) });
      return ['!'];
    }
    const middle = items.length >> 1;
    const answers: LedgerCode[] = [];
    for (const half of [items.slice(0, middle), items.slice(middle)]) {
      try {
        answers.push(...(await send(half, isRetry)));
      } catch (cause) {
        if (isOutcomeUnknown(cause)) answers.push(...(await flush(half)));
        else answers.push(...(await bisect(half, isRetry, cause)));
      }
    }
    return answers;
  }

  const batcher = createBatcher(flush, { maxBatch: MAX_BATCH });

  return {
    hold: async (order) => {
      if (closing || batcher.depth() > MAX_QUEUED) throw overloaded();
      const item: Item = { kind: 'hold', order, giveUpAt: performance.now() + HOLD_PATIENCE_MS, isAbandoned: false };
      const code = await batcher.add(item);
      if (code !== '~') return code;
      // It may have been committed by the attempt whose answer was lost, so it is given back. Code 0
      // (there was none) is as good as code 1.
      void batcher.add({ kind: 'resolution', order: refundOf(order) }).catch(() => {});
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

function refundOf(order: HoldOrder): ResolutionOrder {
  return { callUuid: order.callUuid, kind: 'refund', chargeMicros: 0n, feeMicros: 0n };
}

function overloaded(): Problem {
  return new Problem('UNAVAILABLE', 'The ledger cannot take holds right now; nothing was charged. Try again shortly.', {
    retry_after_seconds: 2,
  });
}

/** A buyer waits for a hold only so long; a resolution is carried on until it is known. */
function abandonImpatient(items: Item[]): void {
  const now = performance.now();
  for (const item of items) if (item.kind === 'hold' && item.giveUpAt < now) item.isAbandoned = true;
}

// Array literals built by join() cost half of what pg's own array quoting does; ids and numbers need no
// quoting, and the texts among them are quoted here.
function parameters(items: Item[], isRetry: boolean, idempotencyTtlSeconds: number): unknown[] {
  const resolutions = items.flatMap((item) => (item.kind === 'resolution' ? [item.order] : []));
  const holds = items.flatMap((item) => (item.kind === 'hold' && !item.isAbandoned ? [item.order] : []));
  // Row locks on open holds are taken in id order in every process, so two of them cannot deadlock.
  resolutions.sort((a, b) => (a.callUuid < b.callUuid ? -1 : 1));
  const keyed = holds.flatMap((hold, index) =>
    hold.idempotency ? [{ ord: index + 1, ...hold.idempotency }] : [],
  );
  return [
    isRetry,
    array(resolutions, (order) => order.callUuid),
    array(resolutions, (order) => order.kind),
    array(resolutions, (order) => order.chargeMicros),
    array(resolutions, (order) => order.feeMicros),
    array(holds, (order) => order.callUuid),
    array(holds, (order) => order.buyer),
    array(holds, (order) => order.seller),
    array(holds, (order) => order.fees),
    array(holds, (order) => order.amountMicros),
    array(holds, (order) => order.ttlMs),
    array(holds, (order) => order.keyId),
    array(holds, (order) => order.agentId),
    holds.some((order) => order.meterId !== undefined),
    array(holds, (order) => order.meterId ?? 0),
    array(keyed, (claim) => claim.ord),
    array(keyed, (claim) => quoted(claim.key)),
    array(keyed, (claim) => claim.requestHash),
    `${idempotencyTtlSeconds} seconds`,
  ];
}

function array<Row>(rows: Row[], column: (row: Row) => string | number | bigint): string {
  return `{${rows.map(column).join(',')}}`;
}

function quoted(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

function codesInOrder(items: Item[], settleCodes: string, holdCodes: string): LedgerCode[] {
  const resolutions = items.flatMap((item) => (item.kind === 'resolution' ? [item] : []));
  const sorted = resolutions.toSorted((a, b) => (a.order.callUuid < b.order.callUuid ? -1 : 1));
  const settleCodeOf = new Map(sorted.map((item, index) => [item, settleCodes.charAt(index)]));
  let hold = 0;
  return items.map((item) => {
    if (item.kind === 'resolution') return settleCodeOf.get(item) ?? '!';
    return item.isAbandoned ? '~' : holdCodes.charAt(hold++);
  });
}

/**
 * True when the statement may or may not have been committed, or was not committed but will be if it is
 * sent again: connection failures, shutdowns (57P), deadlock and serialization (40), lock waits (55P03),
 * a cancelled statement (57014) and resources that ran out (53).
 */
function isOutcomeUnknown(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return !/^[0-9A-Z]{5}$/.test(code) || /^(08|40|53|57|55P03|58)/.test(code) || code === 'EPIPE';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
