import { hash } from 'node:crypto';
import { and, desc, eq, isNull, lt, sql } from 'drizzle-orm';
import { newId, newSecret } from '../base/ids.ts';
import type { Currency } from '../base/money.ts';
import type { Db, Tx } from '../db/db.ts';
import { isOneOf } from '../db/is-one-of.ts';
import type { KeyCaps, Scope } from './caller.ts';
import { apiKeys } from './tables.ts';

export const DEFAULT_SCOPES: readonly Scope[] = [
  'agents:read',
  'agents:invoke',
  'calls:read',
  'billing:read',
];
export const DEFAULT_RATE_PER_MINUTE = 6_000;
export const DEFAULT_MAX_CONCURRENT = 1_000;

const SECRET_BYTES = 20;

export type NewKey = {
  organizationId: string;
  name: string;
  currency: Currency;
  scopes: readonly Scope[];
  caps: KeyCaps;
  ratePerMinute: number;
  maxConcurrent: number;
  accountId: bigint;
  meterId: bigint | undefined;
};

export type KeyRow = typeof apiKeys.$inferSelect;

/** `sk_live_…` or `sk_test_…`: the currency is part of the key, so that nobody mixes them up. */
export function isWellFormedKey(key: string): boolean {
  return /^sk_(live|test)_[0-9a-f]{40}$/.test(key);
}

export function hashKey(key: string): string {
  return hash('sha256', key, 'hex');
}

/** Stores a key and returns it, for the only time. */
export async function insertKey(tx: Tx, wanted: NewKey): Promise<{ id: string; key: string }> {
  const id = newId('key');
  const key = `sk_${wanted.currency}_${newSecret(SECRET_BYTES)}`;
  await tx.insert(apiKeys).values({
    id,
    organizationId: wanted.organizationId,
    name: wanted.name,
    secretHash: hashKey(key),
    lastFour: key.slice(-4),
    currency: wanted.currency,
    scopes: [...wanted.scopes],
    maxPerCallMicros: wanted.caps.maxPerCallMicros ?? null,
    ratePerMinute: wanted.ratePerMinute,
    maxConcurrent: wanted.maxConcurrent,
    accountId: wanted.accountId,
    meterId: wanted.meterId ?? null,
  });
  return { id, key };
}

/** The key with this secret, unless it is revoked. */
export async function findKeyByHash(db: Db, secretHash: string): Promise<KeyRow | undefined> {
  const [row] = await db
    .select()
    .from(apiKeys)
    .where(and(eq(apiKeys.secretHash, secretHash), isNull(apiKeys.revokedAt)));
  return row;
}

/** Newest first; `before` is the last id of the page before. */
export async function listKeys(
  db: Db,
  organizationId: string | undefined,
  page: { before?: string | undefined; limit?: number; currency?: Currency } = {},
): Promise<KeyRow[]> {
  const mine = organizationId === undefined ? undefined : eq(apiKeys.organizationId, organizationId);
  const older = page.before === undefined ? undefined : lt(apiKeys.id, page.before);
  const spending = page.currency === undefined ? undefined : eq(apiKeys.currency, page.currency);
  return db
    .select()
    .from(apiKeys)
    .where(and(mine, older, spending))
    .orderBy(desc(apiKeys.id))
    .limit(page.limit ?? 1_000);
}

/**
 * Revokes a key for every process at once: whoever listens forgets it when this commits. Revoking a revoked
 * key changes nothing. Undefined when there is no such key, or it is another organization's.
 */
export async function markRevoked(
  tx: Tx,
  keyId: string,
  organizationId: string | undefined,
): Promise<KeyRow | undefined> {
  const owned = organizationId === undefined ? undefined : eq(apiKeys.organizationId, organizationId);
  const [row] = await tx
    .update(apiKeys)
    .set({ revokedAt: sql`coalesce(${apiKeys.revokedAt}, now())` })
    .where(and(eq(apiKeys.id, keyId), owned))
    .returning();
  if (row) await tx.execute(sql`SELECT pg_notify('sentinel_changes', ${`key:${keyId}`})`);
  return row;
}

/** The key, if it is this organization's and spends this currency. */
export async function findOwnKey(
  db: Db | Tx,
  keyId: string,
  owner: { organizationId: string; currency: Currency },
): Promise<KeyRow | undefined> {
  const [row] = await db.select().from(apiKeys).where(ownedBy(keyId, owner));
  return row;
}

/** The same, and nobody else changes it until the transaction ends. */
export async function lockOwnKey(
  tx: Tx,
  keyId: string,
  owner: { organizationId: string; currency: Currency },
): Promise<KeyRow | undefined> {
  const [row] = await tx.select().from(apiKeys).where(ownedBy(keyId, owner)).for('update');
  return row;
}

function ownedBy(keyId: string, owner: { organizationId: string; currency: Currency }) {
  return and(
    eq(apiKeys.id, keyId),
    eq(apiKeys.organizationId, owner.organizationId),
    eq(apiKeys.currency, owner.currency),
  );
}

/** Changes what a key may spend, for every process at once: whoever listens reads it again when this commits. */
export async function markCapped(
  tx: Tx,
  keyId: string,
  caps: { maxPerCallMicros: bigint | undefined; meterId: bigint | undefined },
): Promise<void> {
  const { maxPerCallMicros, meterId } = caps;
  await tx
    .update(apiKeys)
    .set({ maxPerCallMicros: maxPerCallMicros ?? null, meterId: meterId ?? null })
    .where(eq(apiKeys.id, keyId));
  await tx.execute(sql`SELECT pg_notify('sentinel_changes', ${`key:${keyId}`})`);
}

/** The keys, none of them revoked, whose spending these meters count. */
export async function listKeysOfMeters(db: Db, meterIds: readonly bigint[]): Promise<KeyRow[]> {
  return db
    .select()
    .from(apiKeys)
    .where(and(isOneOf(apiKeys.meterId, meterIds), isNull(apiKeys.revokedAt)));
}
