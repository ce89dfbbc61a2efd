import { and, eq, gt, lte, sql, type SQL } from 'drizzle-orm';
import { LRUCache } from 'lru-cache';
import { createBatcher } from '../base/batcher.ts';
import type { Clock } from '../base/clock.ts';
import type { Agent } from '../catalog/agent.ts';
import { priceInForce, type PriceInForce } from '../catalog/price-in-force.ts';
import { arraysOf, intArray, textArray } from '../db/binary-array.ts';
import type { Database, Db } from '../db/db.ts';
import { removeInBatches } from '../db/remove-in-batches.ts';
import { apiKeys } from '../identity/tables.ts';
import { priceListings } from './tables.ts';

/** Remembers which prices each key was shown: for 24 hours, or until it is shown others, it pays no more. */
export type PriceListings = {
  /**
   * Whoever shows a key these agents' prices says so first, and waits: a price that is not written down is not
   * shown. Undefined when it was written down lately, which it nearly always was.
   */
  show(keyId: string, agents: readonly Agent[]): Promise<void> | undefined;
  /** What a call costs this key now. Asks the database only of an agent that was cheaper once. */
  inForce(keyId: string, agent: Agent): Promise<PriceInForce>;
};

type Listing = { keyId: string; agentId: string; priceNumber: number };
type Written = { priceNumber: number; atMs: number };

// What is shown all the time is written down four times an hour, and stands for as much longer.
const WRITE_AGAIN_MS = 15 * 60_000;
const BINDS_MS = 24 * 60 * 60_000 + WRITE_AGAIN_MS;

const MAX_LISTS_AT_ONCE = 200;
const MAX_KEYS_PER_LIST = 20_000;
const MAX_REMEMBERED = 200_000;
const MAX_LOOKED_UP = 50_000;
// Long enough that a busy key which never lists costs nothing; short, because a gateway whose change feed is
// stuck may still be showing the price before.
const LOOKED_UP_MS = 10_000;

export function createPriceListings(database: Database, clock: Clock): PriceListings {
  // A page of `tools/list` is one array until the catalogue changes, so the usual question is one look-up.
  const shownTo = new WeakMap<readonly Agent[], Map<string, number>>();
  // Numbers in the table only rise, so a price that was once written there is not undercut by an older one.
  const written = new LRUCache<string, Written>({ max: MAX_REMEMBERED });
  const lookedUp = new LRUCache<string, number>({ max: MAX_LOOKED_UP, ttl: LOOKED_UP_MS });
  const batcher = createBatcher<Listing[], undefined>(
    async (lists) => {
      await insertListings(database, lists.flat());
      return [];
    },
    { maxBatch: MAX_LISTS_AT_ONCE },
  );

  function isLate(atMs: number | undefined): boolean {
    return atMs === undefined || clock.elapsed() - atMs > WRITE_AGAIN_MS;
  }

  function markShown(keyId: string, agents: readonly Agent[], atMs: number): void {
    let keys = shownTo.get(agents);
    if (!keys || keys.size >= MAX_KEYS_PER_LIST) {
      keys = new Map();
      shownTo.set(agents, keys);
    }
    keys.set(keyId, atMs);
  }

  async function writeDown(keyId: string, agents: readonly Agent[], news: Listing[]): Promise<void> {
    // The time before: the row then binds for no less than what is remembered here.
    const atMs = clock.elapsed();
    await batcher.add(news);
    for (const { agentId, priceNumber } of news) written.set(nameOf(keyId, agentId), { priceNumber, atMs });
    markShown(keyId, agents, atMs);
  }

  return {
    show(keyId, agents) {
      if (!isLate(shownTo.get(agents)?.get(keyId))) return undefined;
      let oldestMs = clock.elapsed();
      const news: Listing[] = [];
      for (const { id, priceNumber } of agents) {
        const known = written.get(nameOf(keyId, id));
        if (!known || known.priceNumber < priceNumber || isLate(known.atMs))
          news.push({ keyId, agentId: id, priceNumber });
        else oldestMs = Math.min(oldestMs, known.atMs);
      }
      if (news.length > 0) return writeDown(keyId, agents, news);
      markShown(keyId, agents, oldestMs);
      return undefined;
    },
    async inForce(keyId, agent) {
      const { price, priceNumber, betterPrices } = agent;
      const today = { price, hasChanged: false };
      if (!betterPrices) return today;
      const name = nameOf(keyId, agent.id);
      if ((written.get(name)?.priceNumber ?? 0) >= priceNumber || lookedUp.get(name) === priceNumber)
        return today;
      // While the key has been shown a better price it is asked for each time: another process may have shown
      // it today's.
      const better = betterPrices.get((await findListing(database.db, keyId, agent.id)) ?? 0);
      if (better) return priceInForce(better, price);
      lookedUp.set(name, priceNumber);
      return today;
    },
  };
}

/** Forgets what does not bind any more, and what was shown to keys that cannot call any more. */
export async function removeOldListings(db: Db): Promise<void> {
  await removeInBatches(db, priceListings, lte(priceListings.shownAt, bindsSince()));
  await db.execute(sql`DELETE FROM ${priceListings} USING ${apiKeys}
    WHERE ${apiKeys.id} = ${priceListings.keyId} AND ${apiKeys.revokedAt} IS NOT NULL`);
}

async function findListing(db: Db, keyId: string, agentId: string): Promise<number | undefined> {
  const [row] = await db
    .select({ priceNumber: priceListings.priceNumber })
    .from(priceListings)
    .where(
      and(
        eq(priceListings.keyId, keyId),
        eq(priceListings.agentId, agentId),
        gt(priceListings.shownAt, bindsSince()),
      ),
    );
  return row?.priceNumber;
}

function bindsSince(): SQL {
  return sql`now() - ${BINDS_MS} * interval '1 millisecond'`;
}

// A gateway that has not heard of the newest price yet does not take back that another has shown it.
const INSERT = `INSERT INTO price_listings AS p (key_id, agent_id, price_number)
SELECT * FROM unnest($1::text[], $2::text[], $3::int[])
ON CONFLICT (key_id, agent_id) DO UPDATE SET price_number = excluded.price_number, shown_at = excluded.shown_at
WHERE p.price_number <= excluded.price_number`;
const COLUMNS = [
  textArray(({ keyId }: Listing) => keyId),
  textArray(({ agentId }: Listing) => agentId),
  intArray(({ priceNumber }: Listing) => priceNumber),
];

async function insertListings(database: Database, listings: Listing[]): Promise<void> {
  const newest = new Map<string, Listing>();
  for (const listing of listings) {
    const name = nameOf(listing.keyId, listing.agentId);
    if ((newest.get(name)?.priceNumber ?? 0) < listing.priceNumber) newest.set(name, listing);
  }
  // Sorted, so that two processes that show the same prices wait for each other in one direction only.
  const rows = [...newest].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, listing]) => listing);
  await database.pool.query({
    name: 'insert_price_listings',
    text: INSERT,
    values: arraysOf(COLUMNS, rows),
  });
}

function nameOf(keyId: string, agentId: string): string {
  return `${keyId} ${agentId}`;
}
