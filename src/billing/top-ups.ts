import { and, desc, eq, lt, sql } from 'drizzle-orm';
import { idOfUuid, uuidOfId } from '../base/ids.ts';
import { MICROS_PER_CREDIT, type Currency } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import type { Db, Tx } from '../db/db.ts';
import { topUps } from './tables.ts';

export type TopUp = typeof topUps.$inferSelect;

/** Whose top-ups: an organization's, in one currency. */
export type Owner = { organizationId: string; currency: Currency };

/** The lot of credits a payment of so many cents buys: a cent is a credit. */
export function lotMicros({ amountCents }: Pick<TopUp, 'amountCents'>): bigint {
  return amountCents * MICROS_PER_CREDIT;
}

export async function findTopUp(db: Db | Tx, topUpId: string): Promise<TopUp | undefined> {
  const uuid = uuidOfId('top', topUpId);
  if (uuid === undefined) return undefined;
  const [topUp] = await db.select().from(topUps).where(eq(topUps.id, uuid));
  return topUp;
}

export async function findTopUpOfPayment(db: Db, paymentIntentId: string): Promise<TopUp | undefined> {
  const [topUp] = await db.select().from(topUps).where(eq(topUps.paymentIntentId, paymentIntentId));
  return topUp;
}

/** Throws NOT_FOUND, the same for one that never was and one of somebody else. */
export async function getOwnTopUp(db: Db, owner: Owner, topUpId: string): Promise<TopUp> {
  const topUp = await findTopUp(db, topUpId);
  if (topUp?.organizationId === owner.organizationId && topUp.currency === owner.currency) return topUp;
  throw new Problem('NOT_FOUND', 'There is no such load here.');
}

/** Newest first. */
export async function listTopUps(
  db: Db,
  owner: Owner,
  page: { status: TopUp['status'] | undefined; before: string | undefined; limit: number },
): Promise<TopUp[]> {
  return db
    .select()
    .from(topUps)
    .where(
      and(
        eq(topUps.organizationId, owner.organizationId),
        eq(topUps.currency, owner.currency),
        page.status === undefined ? undefined : eq(topUps.status, page.status),
        page.before === undefined ? undefined : lt(topUps.id, page.before),
      ),
    )
    .orderBy(desc(topUps.id))
    .limit(page.limit);
}

/** What was charged automatically since `from`, or may still be. */
export async function sumAutomatic(db: Db | Tx, owner: Owner, from: Date): Promise<bigint> {
  const [row] = await db
    .select({ cents: sql<string>`coalesce(sum(${topUps.amountCents}), 0)` })
    .from(topUps)
    .where(
      and(
        eq(topUps.organizationId, owner.organizationId),
        eq(topUps.currency, owner.currency),
        eq(topUps.isAutomatic, true),
        sql`${topUps.status} in ('open', 'paid')`,
        sql`${topUps.createdAt} >= ${from.toISOString()}::timestamptz`,
      ),
    );
  return BigInt(row?.cents ?? 0);
}

export function topUpId(topUp: Pick<TopUp, 'id'>): string {
  return idOfUuid('top', topUp.id);
}
