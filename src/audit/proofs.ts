import { and, desc, eq, sql } from 'drizzle-orm';
import { canonicalJson } from '../base/canonical-json.ts';
import { buildTree, HASH_BYTES, hashLeaf, rootOf, siblingsOf } from '../base/hash-tree.ts';
import { invariant } from '../base/invariant.ts';
import { formatCredits, type Currency } from '../base/money.ts';
import { bigintArray, intArray, textArray } from '../db/binary-array.ts';
import { readDatabaseClock } from '../db/database-clock.ts';
import type { Db, Tx } from '../db/db.ts';
import { sumLedger, type KindTotal, type LedgerTotals } from '../ledger/totals.ts';
import { createJwsSigner, type JwsKey } from './compact-jws.ts';
import { proofChains, proofs } from './tables.ts';

/**
 * What the books said at one moment after a day: that all credits add up to nothing, and where every chain
 * of receipts ended. Amounts are decimal credit strings, hashes lower-case hex SHA-256.
 */
export type ProofPayload = {
  /** Each kind of account: what they hold together, and what the journal says they must. */
  accounts: {
    accounts: number;
    currency: Currency;
    held: string;
    journal: string;
    kind: string;
    posted: string;
  }[];
  /** The root of the tree over the ends of all chains. */
  chains: { count: number; root: string };
  /** UTC; the moment below is after its end. */
  day: string;
  /** The gateway's public address. */
  iss: string;
  journal_rows: number;
  /** All accounts of a currency together. "0", or the books are wrong. */
  sums: { live: string; test: string };
  taken_at: string;
  v: 1;
};

/** The end of one chain in a proof, and the way from it to the root. */
export type ProofChain = {
  organization_id: string;
  currency: Currency;
  seq: number;
  head: string;
  /** Its place among the leaves, from 0. */
  leaf: number;
  path: string[];
};

/** A proof as one of its organizations gets it. `jws` is over exactly the members of `proof`. */
export type Proof = { proof: ProofPayload; jws: string; chain: ProofChain | null };

export const PROOF_TYP = 'sentinel-proof+jws';

/**
 * What a leaf says. Others see its hash at most, and the hash in it cannot be guessed, so a proof names no
 * organization to another.
 */
export function leafOf(chain: {
  organizationId: string;
  currency: Currency;
  seq: number;
  head: string;
}): string {
  return `${chain.organizationId}|${chain.currency}|${chain.seq}|${chain.head}`;
}

export type ProofDeps = { db: Db; issuer: string; key: JwsKey };

const DAY_MS = 24 * 60 * 60_000;

/**
 * Makes the proof of a day that has ended, by default yesterday; false when there is one. Everything in it
 * is read from one snapshot. Of two processes at once, one files its proof and the other's is dropped.
 */
export async function publishProof(deps: ProofDeps, wanted?: string): Promise<boolean> {
  const takenAt = await readDatabaseClock(deps.db);
  const day = wanted ?? dayBefore(takenAt);
  invariant(takenAt.getTime() >= Date.parse(`${day}T00:00:00Z`) + DAY_MS, `${day} has ended`);
  if (await hasProof(deps.db, day)) return false;

  const { totals, ends } = await deps.db.transaction(
    async (tx) => ({ totals: await sumLedger(tx), ends: await listEnds(tx) }),
    { isolationLevel: 'repeatable read', accessMode: 'read only' },
  );
  const tree = buildTree(ends.map((end) => hashLeaf(leafOf(end))));
  const payload: ProofPayload = {
    ...formatTotals(totals),
    chains: { count: ends.length, root: rootOf(tree).toString('hex') },
    day,
    iss: deps.issuer,
    taken_at: takenAt.toISOString(),
    v: 1,
  };
  const jws = await createJwsSigner(deps.key, PROOF_TYP)(canonicalJson(payload));
  return deps.db.transaction((tx) => insertProof(tx, { day, jws, tree }, ends));
}

/** The proof of a day, or the newest, with the end of one balance's chain in it. */
export async function findProof(
  db: Db,
  accountId: bigint,
  day: string | undefined,
): Promise<Proof | undefined> {
  const [found] = await db
    .select({ day: proofs.day, jws: proofs.jws })
    .from(proofs)
    .where(day === undefined ? undefined : eq(proofs.day, day))
    .orderBy(desc(proofs.day))
    .limit(1);
  if (!found) return undefined;
  const proof = JSON.parse(
    Buffer.from(found.jws.split('.')[1] ?? '', 'base64url').toString(),
  ) as ProofPayload;
  return { proof, jws: found.jws, chain: await findChain(db, accountId, found.day, proof.chains.count) };
}

type End = { accountId: bigint; organizationId: string; currency: Currency; seq: number; head: string };

async function listEnds(tx: Tx): Promise<End[]> {
  const { rows } = await tx.execute<{
    account: string;
    organization: string;
    currency: Currency;
    seq: string;
    head: string;
  }>(sql`
    SELECT c.account_id AS account, a.organization_id AS organization, a.currency, c.seq, encode(c.head, 'hex') AS head
    FROM receipt_chains c JOIN ledger_accounts a ON a.id = c.account_id ORDER BY c.account_id`);
  return rows.map((row) => ({
    accountId: BigInt(row.account),
    organizationId: row.organization,
    currency: row.currency,
    seq: Number(row.seq),
    head: row.head,
  }));
}

async function hasProof(db: Db, day: string): Promise<boolean> {
  const known = await db.select({ day: proofs.day }).from(proofs).where(eq(proofs.day, day));
  return known.length > 0;
}

const accountsOf = bigintArray(({ accountId }: End) => accountId);
const seqsOf = bigintArray(({ seq }: End) => BigInt(seq));
const headsOf = textArray(({ head }: End) => head);
const placesOf = intArray((place: number) => place);

async function insertProof(
  tx: Tx,
  proof: { day: string; jws: string; tree: Buffer },
  ends: readonly End[],
): Promise<boolean> {
  const filed = await tx.insert(proofs).values(proof).onConflictDoNothing().returning({ day: proofs.day });
  if (filed.length === 0) return false;
  await tx.execute(sql`
    INSERT INTO proof_chains (day, account_id, leaf, seq, head)
    SELECT ${proof.day}::date, account, ord - 1, seq, decode(head, 'hex')
    FROM unnest(${accountsOf(ends)}::bigint[],
      ${seqsOf(ends)}::bigint[], ${headsOf(ends)}::text[])
      WITH ORDINALITY AS w (account, seq, head, ord)`);
  return true;
}

async function findChain(db: Db, accountId: bigint, day: string, size: number): Promise<ProofChain | null> {
  const [own] = await db
    .select()
    .from(proofChains)
    .where(and(eq(proofChains.day, day), eq(proofChains.accountId, accountId)));
  if (!own) return null;
  // Only the hashes on the way are read: the tree of a large marketplace has megabytes.
  const { rows } = await db.execute<{ organization: string; currency: Currency; path: string[] }>(sql`
    SELECT a.organization_id AS organization, a.currency, ARRAY(
      SELECT encode(substring(p.tree FROM w.place * ${HASH_BYTES} + 1 FOR ${HASH_BYTES}), 'hex')
      FROM unnest(${placesOf(siblingsOf(size, own.leaf))}::int[]) WITH ORDINALITY AS w (place, ord) ORDER BY w.ord) AS path
    FROM proofs p, ledger_accounts a WHERE p.day = ${day} AND a.id = ${accountId}`);
  const [row] = rows;
  invariant(row, 'a chain belongs to an account');
  return {
    organization_id: row.organization,
    currency: row.currency,
    seq: Number(own.seq),
    head: own.head.toString('hex'),
    leaf: own.leaf,
    path: row.path,
  };
}

function formatTotals({
  journalRows,
  kinds,
}: LedgerTotals): Pick<ProofPayload, 'accounts' | 'journal_rows' | 'sums'> {
  return {
    accounts: kinds.map((each) => ({
      accounts: each.accounts,
      currency: each.currency,
      held: formatCredits(each.heldMicros),
      journal: formatCredits(each.journalMicros),
      kind: each.kind,
      posted: formatCredits(each.postedMicros),
    })),
    journal_rows: journalRows,
    sums: { live: formatCredits(sumOf(kinds, 'live')), test: formatCredits(sumOf(kinds, 'test')) },
  };
}

function sumOf(kinds: readonly KindTotal[], currency: Currency): bigint {
  return kinds.reduce(
    (sum, { postedMicros, ...each }) => (each.currency === currency ? sum + postedMicros : sum),
    0n,
  );
}

function dayBefore(moment: Date): string {
  return new Date(moment.getTime() - DAY_MS).toISOString().slice(0, 10);
}
