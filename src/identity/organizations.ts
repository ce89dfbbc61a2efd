import { asc, eq, gt } from 'drizzle-orm';
import { newId } from '../base/ids.ts';
import type { Db, Tx } from '../db/db.ts';
import { organizations } from './tables.ts';

export type Organization = typeof organizations.$inferSelect;

export async function insertOrganization(tx: Tx, name: string): Promise<Organization> {
  const [row] = await tx
    .insert(organizations)
    .values({ id: newId('org'), name: name.trim() })
    .returning();
  return row as Organization;
}

export async function findOrganization(db: Db | Tx, id: string): Promise<Organization | undefined> {
  const [row] = await db.select().from(organizations).where(eq(organizations.id, id));
  return row;
}

/** The oldest organization with this name. Names are not unique: people choose them. */
export async function findOrganizationByName(db: Db | Tx, name: string): Promise<Organization | undefined> {
  const [row] = await db
    .select()
    .from(organizations)
    .where(eq(organizations.name, name))
    .orderBy(asc(organizations.id))
    .limit(1);
  return row;
}

/** Oldest first; `after` is the last id of the page before. */
export async function listOrganizations(
  db: Db,
  page: { after?: string | undefined; limit?: number } = {},
): Promise<Organization[]> {
  return db
    .select()
    .from(organizations)
    .where(page.after === undefined ? undefined : gt(organizations.id, page.after))
    .orderBy(asc(organizations.id))
    .limit(page.limit ?? 1_000);
}
