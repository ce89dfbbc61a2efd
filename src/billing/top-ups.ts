import { and, desc, eq, gt, lt, or, sql } from 'drizzle-orm';
import { idOfUuid, uuidOfId } from '../base/ids.ts';
import { MICROS_PER_CREDIT, type Currency } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { databaseNow } from '../db/database-clock.ts';
import type { Db, Tx } from '../db/db.ts';
import { topUps } from './tables.ts';

export type TopUp = typeof topUps.$inferSelect;

/** Whose top-ups: an organization's, in one currency. */
export type Owner = { organizationId: string; currency: Currency };

/** The lot of credits a payment of so many cents buys: a cent is a credit. */
export function lotMicros({ amountCents }: Pick<TopUp, 'amountCents'>): bigint {
  return amountCents * MICROS_PER_CREDIT;
}

/** What the card was given back and has not returned, at most what it paid. */
export function cardRefundCents(
  topUp: Pick<TopUp, 'amountCents' | 'refundedCents' | 'failedRefundCents'>,
): bigint {
  return least(topUp.refundedCents - topUp.failedRefundCents, topUp.amountCents);
}

/**
 * What has to be taken back of a lot, or be owed: refunded to the card, or lost in a dispute. Both may be about
 * the same money; more than the lot is never due.
 */
export function dueMicros(
  topUp: Pick<TopUp, 'amountCents' | 'refundedCents' | 'failedRefundCents' | 'lostCents'>,
): bigint {
  return least((cardRefundCents(topUp) + topUp.lostCents) * MICROS_PER_CREDIT, lotMicros(topUp));
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
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

/**
 * What an organization owes for its top-ups: what could not be taken back because it was spent, and what is
 * contested in an open card dispute and could not be frozen.
 */
export async function sumOwed(tx: Tx, organizationId: string, currency: Currency): Promise<bigint> {
  const { amountCents, cardDispute, cardDisputeCents, frozenMicros, owedMicros, reversedMicros } = topUps;
  const contested = sql`least(
    ${cardDisputeCents} * ${MICROS_PER_CREDIT}, ${amountCents} * ${MICROS_PER_CREDIT} - ${reversedMicros} - ${owedMicros})`;
  const unfrozen = sql`CASE WHEN ${cardDispute} = 'open' THEN greatest(${contested} - ${frozenMicros}, 0) ELSE 0 END`;
  const [row] = await tx
    .select({ owed: sql<string>`coalesce(sum(${owedMicros} + ${unfrozen}), 0)::bigint` })
    .from(topUps)
    .where(
      and(
        eq(topUps.organizationId, organizationId),
        eq(topUps.currency, currency),
        eq(topUps.status, 'paid'),
      ),
    );
  return BigInt(row?.owed ?? 0);
}

/** What was charged automatically in this UTC month, or may still be. */
export async function sumAutomatic(db: Db | Tx, owner: Owner): Promise<bigint> {
  const [row] = await db
    .select({ cents: sql<string>`coalesce(sum(${topUps.amountCents}), 0)` })
    .from(topUps)
    .where(
      and(
        eq(topUps.organizationId, owner.organizationId),
        eq(topUps.currency, owner.currency),
        eq(topUps.isAutomatic, true),
        sql`${topUps.status} in ('open', 'paid')`,
        sql`${topUps.createdAt} >= date_trunc('month', ${databaseNow}, 'UTC')`,
      ),
    );
  return BigInt(row?.cents ?? 0);
}

/** True while card payments of an owner are disputed, or their credits are frozen or still owed. */
export async function isContested(tx: Tx, owner: Owner): Promise<boolean> {
  const [row] = await tx
    .select({ id: topUps.id })
    .from(topUps)
    .where(
      and(
        eq(topUps.organizationId, owner.organizationId),
        eq(topUps.currency, owner.currency),
        or(eq(topUps.cardDispute, 'open'), gt(topUps.frozenMicros, 0n), gt(topUps.owedMicros, 0n)),
      ),
    )
    .limit(1);
  return row !== undefined;
}

export function topUpId(topUp: Pick<TopUp, 'id'>): string {
  return idOfUuid('top', topUp.id);
}
