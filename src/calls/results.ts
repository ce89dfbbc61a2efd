import { and, eq, gt, isNotNull, lt, sql } from 'drizzle-orm';
import { idOfUuid, uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import type { Db } from '../db/db.ts';
import { removeInBatches } from '../db/remove-in-batches.ts';
import type { CallAnswer } from './call.ts';
import { IDEMPOTENCY_TTL_MS, nameCall } from '../ledger/idempotency.ts';
import { ledgerJournal } from '../ledger/tables.ts';
import { callResults } from './tables.ts';

/** Answers kept for those who may still ask for them. */
export type CallResults = {
  /** Keeps the answer of a call made with an idempotency key. Its buyer is there to receive it. */
  keep(call: ResultOwner, answer: CallAnswer): Promise<void>;
  /** The buyer of a call that runs on has gone: the next identical call waits for this one. */
  expect(call: ResultOwner, forMs: number): Promise<void>;
  /** The answer came, and nobody received it: the next identical call gets it free. */
  keepForHandover(call: ResultOwner, answer: CallAnswer): Promise<void>;
  /** The call that ran on was refunded: there is nothing to hand over. */
  drop(callId: string): Promise<void>;
  /** What waits for this purchase: an answer, now taken; a call that is still running; or nothing. */
  takeHandover(keyId: string, requestHash: string): Promise<Handover>;
  /** The answer kept of one call; from now on it waits for no other. */
  takeKept(callId: string): Promise<CallAnswer | undefined>;
  /**
   * Lets one more idempotency key stand for the call this answer was bought with, and keeps the answer as long as
   * the key.
   */
  keepForKey(
    call: ResultOwner & { idempotencyKey: string; keyedHash: string },
    answer: CallAnswer,
  ): Promise<void>;
  /** Removes what is older than it is kept for. */
  removeExpired(): Promise<void>;
  /** Another process keeps something for this key. */
  hint(keyId: string): void;
  hintAll(): void;
};

export type ResultOwner = { callId: string; keyId: string; requestHash: string };

export type Handover =
  { kind: 'nothing' } | { kind: 'running' } | { kind: 'answer'; callId: string; answer: CallAnswer };

// A little longer than an idempotency key lives: whoever finds the key finds the answer it stands for.
const KEPT_MS = IDEMPOTENCY_TTL_MS + 5 * 60_000;
const HANDOVER_MS = 15 * 60_000;
// A running call's placeholder outlives its timeout by the sweeper's margin, and then the handover window.
const PLACEHOLDER_MARGIN_MS = HANDOVER_MS + 60_000;

/**
 * `now` is the database's clock in every condition, so processes with different clocks agree. Most keys
 * never have anything waiting: each process remembers which do (it hears of the others' through the change
 * feed), so a call of any other key asks nothing.
 */
export function createCallResults(db: Db, isFeedLive: () => boolean): CallResults {
  const hinted = new Map<string, number>();
  let allHintedUntil = performance.now() + HANDOVER_MS;

  function mayHaveHandover(keyId: string): boolean {
    const now = performance.now();
    const until = hinted.get(keyId);
    if (until !== undefined && until <= now) hinted.delete(keyId);
    return !isFeedLive() || allHintedUntil > now || hinted.has(keyId);
  }

  function hint(keyId: string, forMs = 0): void {
    hinted.set(keyId, performance.now() + forMs + PLACEHOLDER_MARGIN_MS);
  }

  async function store(
    call: ResultOwner,
    answer: CallAnswer | null,
    handoverMs: number | null,
  ): Promise<void> {
    const row = {
      callId: uuid(call.callId),
      keyId: call.keyId,
      requestHash: call.requestHash,
      answer,
      handoverUntil: handoverMs === null ? null : later(handoverMs),
      expiresAt: later(KEPT_MS),
    };
    const { callId: _, ...changes } = row;
    await db.transaction(async (tx) => {
      await tx
        .insert(callResults)
        .values(row)
        .onConflictDoUpdate({ target: callResults.callId, set: changes });
      if (handoverMs !== null)
        await tx.execute(sql`SELECT pg_notify('sentinel_changes', ${`handover:${call.keyId}`})`);
    });
    if (handoverMs !== null) hint(call.keyId, handoverMs);
  }

  return {
    keep: (call, answer) => store(call, answer, null),
    expect: (call, forMs) => store(call, null, forMs + PLACEHOLDER_MARGIN_MS),
    keepForHandover: (call, answer) => store(call, answer, HANDOVER_MS),
    drop: async (callId) => {
      await db.delete(callResults).where(eq(callResults.callId, uuid(callId)));
    },
    takeHandover: async (keyId, requestHash) => {
      if (!mayHaveHandover(keyId)) return { kind: 'nothing' };
      const wanted = and(
        eq(callResults.keyId, keyId),
        eq(callResults.requestHash, requestHash),
        isNotNull(callResults.handoverUntil),
        gt(callResults.handoverUntil, sql`now()`),
      );
      // Two identical calls at once cannot both take it: the second finds the row locked and skips it.
      const taken = await db
        .update(callResults)
        .set({ handoverUntil: null })
        .where(
          sql`${callResults.callId} = (SELECT ${callResults.callId} FROM ${callResults}
            WHERE ${wanted} AND ${callResults.answer} IS NOT NULL AND ${isPaid}
            ORDER BY ${callResults.callId} LIMIT 1 FOR UPDATE SKIP LOCKED)`,
        )
        .returning();
      const row = taken[0];
      if (row?.answer) return { kind: 'answer', callId: idOfUuid('call', row.callId), answer: row.answer };
      const [running] = await db.select({ id: callResults.callId }).from(callResults).where(wanted).limit(1);
      return running ? { kind: 'running' } : { kind: 'nothing' };
    },
    takeKept: async (callId) => {
      const [row] = await db
        .update(callResults)
        .set({ handoverUntil: null })
        .where(
          and(
            eq(callResults.callId, uuid(callId)),
            isNotNull(callResults.answer),
            gt(callResults.expiresAt, sql`now()`),
          ),
        )
        .returning();
      return row?.answer ?? undefined;
    },
    keepForKey: (call, answer) =>
      db.transaction(async (tx) => {
        const { keyId, idempotencyKey, callId, keyedHash } = call;
        await nameCall(tx, { keyId, idempotencyKey, callId, requestHash: keyedHash });
        await tx
          .insert(callResults)
          .values({
            callId: uuid(callId),
            keyId,
            requestHash: call.requestHash,
            answer,
            handoverUntil: null,
            expiresAt: later(KEPT_MS),
          })
          .onConflictDoUpdate({
            target: callResults.callId,
            set: { expiresAt: sql`greatest(${callResults.expiresAt}, ${later(KEPT_MS)})` },
          });
      }),
    removeExpired: async () => {
      await removeInBatches(db, callResults, lt(callResults.expiresAt, sql`now()`));
    },
    hint: (keyId) => hint(keyId),
    hintAll: () => {
      allHintedUntil = performance.now() + HANDOVER_MS;
    },
  };
}

// An answer is stored before it is paid for. Until the journal says so it counts as still running: should its
// gateway have died in between, the hold is refunded and the answer dropped.
const isPaid = sql`EXISTS (SELECT 1 FROM ${ledgerJournal}
  WHERE ${ledgerJournal.id} = ${callResults.callId} AND ${ledgerJournal.kind} = 'settle')`;

function later(ms: number) {
  return sql`now() + ${ms} * interval '1 millisecond'`;
}

function uuid(callId: string): string {
  const found = uuidOfId('call', callId);
  invariant(found !== undefined, `${callId} is not a call id`);
  return found;
}
