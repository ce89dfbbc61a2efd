import pg from 'pg';
import { createBatcher } from '../base/batcher.ts';
import { invariant } from '../base/invariant.ts';
import type { Log } from '../base/log.ts';
import { createPatience } from '../base/patience.ts';
import { Problem } from '../base/problem.ts';
import { answersInOrder, batchOf, statementOf, type BatchRow } from './batch.ts';
import { GIVEN_UP, REFUSED, type LedgerCode } from './codes.ts';
import type { HoldOrder, Item, Resolution, ResolutionOrder } from './batch.ts';

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
export function createGroupCommit(url: string, options: { log: Log; idempotencyTtlMs: number }): GroupCommit {
  let client: pg.Client | undefined;
  let opening: Promise<pg.Client> | undefined;
  let previous: Session | undefined;
  let closing = false;
  let closed = false;
  // Not even one order is done in time, and nobody waits for the ledger to close for ever.
  let isStuck = false;

  async function connection(): Promise<pg.Client> {
    if (closed) throw new Error('the ledger is closed');
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
      // Without its code: what the server says to a greeting is no verdict on the batch that waits for it.
      throw new Error(messageOf(error), { cause: error });
    }
    client = fresh;
    return fresh;
  }

  function drop(broken: pg.Client): void {
    if (client === broken) client = undefined;
    // The server may still be working for the old connection; ending it is best effort.
    broken.end().catch(() => {});
  }

  async function send(items: Item[]): Promise<Resolution[]> {
    const used = await connection();
    const batch = batchOf(items);
    const isRetry = items.some(({ wasSent }) => wasSent);
    try {
      const statement = statementOf(batch, isRetry, options.idempotencyTtlMs);
      const { rows } = await used.query<BatchRow>(statement);
      const [row] = rows;
      invariant(row, 'a batch is answered');
      return answersInOrder(items, batch, row);
    } catch (error) {
      if (failureOf(error) === 'unknown') drop(used);
      throw error;
    }
  }

  async function flush(items: Item[]): Promise<Resolution[]> {
    for (let waitMs = RETRY_FIRST_MS; ; waitMs = Math.min(waitMs * 2, RETRY_MOST_MS)) {
      if (isStuck) throw new Error('the database did not get done in time while the ledger was closing');
      abandonImpatient(items);
      try {
        return await send(items);
      } catch (error) {
        const failure = failureOf(error);
        if (failure === 'too long') {
          options.log('warn', 'a batch of the ledger ran out of time; trying again', { items: items.length });
        }
        if (failure !== 'unknown' && items.length > 1) throw error;
        if (failure === 'refused') {
          options.log('error', 'the ledger refused a statement', { error: messageOf(error) });
          return [{ code: REFUSED, place: undefined }];
        }
        if (failure === 'unknown') {
          for (const item of items) item.wasSent = true;
          options.log('warn', 'the ledger could not reach its database; trying again', {
            error: messageOf(error),
          });
        }
        if (closing) {
          isStuck ||= failure === 'too long';
          throw error;
        }
        await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
    }
  }

  const withPatience = createPatience(HOLD_PATIENCE_MS);
  const batcher = createBatcher(flush, {
    maxBatch: MAX_BATCH,
    inFlight: IN_FLIGHT,
    spacing: SPACING,
    // One bad order must not fail the others of its batch, nor a slow server be asked for too much at once.
    halvesOn: (error) => failureOf(error) !== 'unknown',
  });

  return {
    hold: async (order) => {
      if (closing || batcher.depth() > MAX_QUEUED) throw overloaded();
      const item: Item = {
        kind: 'hold',
        order,
        wasSent: false,
        giveUpAt: performance.now() + HOLD_PATIENCE_MS,
        isAbandoned: false,
      };
      const answer = batcher.add(item);
      // Undefined when the ledger has not answered while its buyer waited.
      const answered = await withPatience(answer);
      if (answered !== undefined && answered.code !== GIVEN_UP) return answered.code;
      // It may be committed by an attempt whose answer was lost, or by one still to come, so it is given
      // back once that is known. Code 0 (there was none) is as good as code 1.
      answer
        .then(() => batcher.add({ kind: 'resolution', order: refundOf(order), wasSent: false }))
        .catch(() => {
          // Closed before the database came back: should a hold be there, the sweeper takes it.
        });
      throw overloaded();
    },
    resolve: (order) => batcher.add({ kind: 'resolution', order, wasSent: false }),
    depth: () => batcher.depth(),
    close: async () => {
      closing = true;
      await batcher.drain();
      // A call that outlived its grace may still come to its end; nobody would close a connection made for it.
      closed = true;
      await client?.end().catch(() => {});
    },
  };
}

/** A connection as the server knows it; the start tells it from a later one with the same process id. */
type Session = { pid: number; startedAt: string };

async function sessionOf(client: pg.Client): Promise<Session | undefined> {
  const { rows } = await client.query<Session>(
    // As a number: how a time is written, and read back, depends on the settings of the server.
    `SELECT pid, extract(epoch FROM backend_start)::text AS "startedAt" FROM pg_stat_activity WHERE pid = pg_backend_pid()`,
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
    'SELECT pg_terminate_backend(pid, $3) FROM pg_stat_activity WHERE pid = $1 AND extract(epoch FROM backend_start) = $2::numeric',
    [session.pid, session.startedAt, END_SESSION_MS],
  );
  const { rows } = await client.query(
    'SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND extract(epoch FROM backend_start) = $2::numeric',
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

/**
 * What a failed statement has become of:
 * - `too long`: the server gave it up at its limit (57014), so nothing of it was committed;
 * - `refused`: the same statement will be refused again;
 * - `unknown`: it may or may not have been committed, or was not but will be if it is sent again: connection
 *   failures, shutdowns (57P), deadlock and serialization (40), lock waits (55P03), resources that ran out (53),
 *   and a statement the server does not know (26000) because the batch in front, which was to name it, failed.
 */
function failureOf(error: unknown): 'too long' | 'refused' | 'unknown' {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === '57014') return 'too long';
  const isUnknown =
    !/^[0-9A-Z]{5}$/.test(code) || /^(08|25006|26000|40|53|57|55P03|58)/.test(code) || code === 'EPIPE';
  return isUnknown ? 'unknown' : 'refused';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
