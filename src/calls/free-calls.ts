import { and, eq, sql } from 'drizzle-orm';
import { LRUCache } from 'lru-cache';
import { uuidOfId } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import type { Db } from '../db/db.ts';
import { removeInBatches } from '../db/remove-in-batches.ts';
import { ledgerHolds, ledgerJournal } from '../ledger/tables.ts';
import { freeCallMonths, freeCalls } from './tables.ts';

/** Whose free calls of which agent, in the UTC month of a moment. The buyer is its balance. */
export type FreeTier = { accountId: bigint; agentId: string; at: Date };

/** The calls of an agent a buyer has for nothing each month. */
export type FreeCalls = {
  /**
   * Makes this call one of them, if there is one left of `limit`. A refunded call gives its place back by
   * itself; one that ends without a hold must be given back.
   */
  take(callId: string, tier: FreeTier, limit: number): Promise<boolean>;
  giveBack(callId: string): Promise<void>;
  countLeft(tier: FreeTier, limit: number): Promise<number>;
};

type Taken = 'taken' | 'used_up' | 'under_way';

const MAX_REMEMBERED = 100_000;

export function createFreeCalls(db: Db): FreeCalls {
  // What is settled stays settled: for the rest of the month a buyer who has had them all costs no question.
  const usedUp = new LRUCache<string, number>({ max: MAX_REMEMBERED });

  return {
    take: async (callId, tier, limit) => {
      const month = monthOf(tier.at);
      const name = `${tier.accountId} ${tier.agentId} ${month}`;
      if ((usedUp.get(name) ?? 0) >= limit) return false;
      const { rows } = await db.execute<{ answer: Taken }>(
        sql`SELECT free_call_take(${uuid(callId)}, ${tier.accountId}, ${tier.agentId}, ${month}, ${limit}) AS answer`,
      );
      if (rows[0]?.answer === 'used_up') usedUp.set(name, limit);
      return rows[0]?.answer === 'taken';
    },
    giveBack: async (callId) => {
      await db.delete(freeCalls).where(eq(freeCalls.callId, uuid(callId)));
    },
    countLeft: async (tier, limit) => {
      if (limit === 0) return 0;
      const used = await countUsed(db, tier);
      return used < limit ? limit - used : 0;
    },
  };
}

async function countUsed(db: Db, { accountId, agentId, at }: FreeTier): Promise<number> {
  const month = monthOf(at);
  // One statement, so that a call is never missed between the one table and the other. The condition is that of
  // free_call_take.
  const { rows } = await db.execute<{ used: number }>(sql`
    SELECT coalesce((SELECT ${freeCallMonths.settledCalls} FROM ${freeCallMonths}
        WHERE ${and(eq(freeCallMonths.accountId, accountId), eq(freeCallMonths.agentId, agentId), eq(freeCallMonths.month, month))}), 0)
      + (SELECT count(*)::int FROM ${freeCalls}
        LEFT JOIN ${ledgerJournal} ON ${ledgerJournal.id} = ${freeCalls.callId}
        LEFT JOIN ${ledgerHolds} ON ${ledgerHolds.id} = ${freeCalls.callId}
        WHERE ${and(eq(freeCalls.accountId, accountId), eq(freeCalls.agentId, agentId), eq(freeCalls.month, month))}
          AND CASE WHEN ${ledgerJournal.id} IS NOT NULL THEN ${ledgerJournal.kind} = 'settle'
            ELSE ${ledgerHolds.id} IS NOT NULL OR ${freeCalls.takenAt} > now() - interval '1 minute' END) AS used`);
  return rows[0]?.used ?? 0;
}

/** Forgets the free calls of months that are long over. */
export async function removeOldFreeCalls(db: Db): Promise<void> {
  for (const table of [freeCalls, freeCallMonths]) {
    await removeInBatches(db, table, sql`${table.month} < now() - interval '3 months'`);
  }
}

function monthOf(at: Date): string {
  return `${at.toISOString().slice(0, 7)}-01`;
}

function uuid(callId: string): string {
  const found = uuidOfId('call', callId);
  invariant(found !== undefined, `${callId} is not a call id`);
  return found;
}
