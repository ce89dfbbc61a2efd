import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Db } from '../db/db.ts';
import { issueKey } from '../governance/issue-key.ts';
import { findOrganizationByName, insertOrganization } from '../identity/organizations.ts';
import { findKeyByHash, hashKey } from '../identity/keys.ts';
import { newSigningKeyPem } from '../identity/signing-key.ts';

/** The organization the operator's own key belongs to. It has no credits. */
const OPERATORS = 'Operators';

/** The Ed25519 key made on first start, as PEM. */
export async function keepSigningKey(directory: string): Promise<string> {
  const file = join(directory, 'signing-key.pem');
  const kept = await readIfThere(file);
  if (kept !== undefined) return kept;
  const pem = newSigningKeyPem();
  await writeSecret(file, pem);
  return pem;
}

/**
 * The operator's key, kept where the CLI finds it. One that the database does not know (another database,
 * or revoked) is replaced.
 */
export async function keepOperatorKey(db: Db, directory: string): Promise<string> {
  return keepKey(db, join(directory, 'operator-key'), async () => {
    const organization =
      (await findOrganizationByName(db, OPERATORS)) ??
      (await db.transaction((tx) => insertOrganization(tx, OPERATORS)));
    return issueKey(db, {
      organizationId: organization.id,
      name: 'operator',
      currency: 'test',
      scopes: ['operator'],
    });
  });
}

/** A key in a file, made anew when the database does not know it. */
export async function keepKey(db: Db, file: string, make: () => Promise<{ key: string }>): Promise<string> {
  const kept = (await readIfThere(file))?.trim();
  if (kept !== undefined && (await findKeyByHash(db, hashKey(kept)))) return kept;
  const { key } = await make();
  await writeSecret(file, `${key}\n`);
  return key;
}

/** Where the CLI finds the running gateway. */
export async function keepUrl(directory: string, url: string): Promise<void> {
  await writeSecret(join(directory, 'url'), `${url}\n`);
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Whole or not at all, and readable by nobody else at any moment. */
async function writeSecret(file: string, text: string): Promise<void> {
  const draft = `${file}.${process.pid}`;
  await writeFile(draft, text, { mode: 0o600 });
  await rename(draft, file);
}
