import { desc } from 'drizzle-orm';
import type { Db } from '../db/db.ts';
import { signingKeys } from './tables.ts';

/** A public key as it stands in the JWKS; `kid` is its RFC 7638 thumbprint. */
export type PublicJwk = { kid: string };

/**
 * Remembers the public half of the key this process signs with. To be done before anything is signed: a
 * receipt must not be out before the key that proves it.
 */
export async function registerSigningKey(db: Db, publicJwk: PublicJwk): Promise<void> {
  await db.insert(signingKeys).values({ keyId: publicJwk.kid, publicJwk }).onConflictDoNothing();
}

/** Every key there ever was, ours first and then the newest: what is signed with an old one can still be checked. */
export async function listSigningKeys(db: Db, current: PublicJwk): Promise<PublicJwk[]> {
  const rows = await db.select().from(signingKeys).orderBy(desc(signingKeys.firstUsedAt), signingKeys.keyId);
  const others = rows.filter(({ keyId }) => keyId !== current.kid);
  return [current, ...others.map(({ publicJwk }) => publicJwk as PublicJwk)];
}
