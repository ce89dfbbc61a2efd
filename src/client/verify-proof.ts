import { canonicalJson } from '../base/canonical-json.ts';
import { followPath } from '../base/hash-tree.ts';
import { isJsonObject, type Json } from '../base/json.ts';
import { formatCredits, parseCredits } from '../base/money.ts';
import { verifyCompactJws } from './compact-jws.ts';
import type { KeySet } from './key-set.ts';
import { assertProven } from './not-verified.ts';
import type { ChainPlace } from './verify-chain.ts';

/** What a genuine proof says. `chain` is absent for an organization that had no receipt then. */
export type ProvenProof = { day: string; takenAt: string; chain: ChainPlace | undefined };

const TYP = 'sentinel-proof+jws';
const HASH = /^[0-9a-f]{64}$/;

/**
 * Checks one day's proof as `GET /v1/billing/proof` answers it: that it is signed, that it says the books are
 * right, and that the end of the chain shown with it is one of those it was made over.
 */
export function verifyProof(document: Json, keys: KeySet): ProvenProof {
  assertProven(
    isJsonObject(document) && typeof document['jws'] === 'string',
    'The proof is not what GET /v1/billing/proof answers: {"proof":…,"jws":…,"chain":…}.',
  );
  const { payload } = verifyCompactJws(document['jws'], keys, TYP);
  const { day, taken_at: takenAt, sums, accounts, chains } = payload;
  assertProven(
    payload['v'] === 1 && typeof day === 'string' && typeof takenAt === 'string' && isJsonObject(chains),
    "The proof's payload is not a proof.",
  );
  assertProven(
    document['proof'] === undefined || canonicalJson(document['proof']) === canonicalJson(payload),
    'The proof shows something else than what is signed.',
  );
  assertBooksAreRight(accounts, sums);
  const chain = document['chain'];
  return { day, takenAt, chain: chain == null ? undefined : placeIn(chain, chains) };
}

/** Adds up what the accounts hold instead of believing the sums: all of it is signed, and nothing else is. */
function assertBooksAreRight(accounts: Json | undefined, sums: Json | undefined): void {
  assertProven(Array.isArray(accounts) && isJsonObject(sums), "The proof's payload is not a proof.");
  const added = new Map([
    ['live', 0n],
    ['test', 0n],
  ]);
  for (const each of accounts) {
    const { currency, posted, journal } = isJsonObject(each) ? each : {};
    const micros = signedCredits(posted);
    const sum = typeof currency === 'string' ? added.get(currency) : undefined;
    assertProven(
      typeof currency === 'string' && sum !== undefined && micros !== undefined,
      "The proof's payload is not a proof.",
    );
    assertProven(
      posted === journal,
      `By its own proof the books are wrong: ${JSON.stringify(each)} differs from the journal.`,
    );
    added.set(currency, sum + micros);
  }
  for (const [currency, sum] of added) {
    assertProven(
      sum === 0n && sums[currency] === '0',
      `By its own proof the books are wrong: ${currency} credits sum to ${formatCredits(sum)}.`,
    );
  }
}

function signedCredits(value: Json | undefined): bigint | undefined {
  if (typeof value !== 'string') return undefined;
  const size = parseCredits(value.replace(/^-/, ''));
  return size !== undefined && value.startsWith('-') ? -size : size;
}

/** The shown chain end, once its path has led to the signed root. */
function placeIn(chain: Json, chains: { [member: string]: Json }): ChainPlace {
  assertProven(isJsonObject(chain), "The proof's chain is not an object.");
  const { organization_id: organizationId, currency, seq, head, leaf, path } = chain;
  assertProven(
    typeof organizationId === 'string' &&
      typeof currency === 'string' &&
      typeof seq === 'number' &&
      isHash(head) &&
      typeof leaf === 'number' &&
      Number.isSafeInteger(leaf) &&
      typeof chains['count'] === 'number' &&
      Array.isArray(path) &&
      path.every(isHash),
    "The proof's chain does not have the members it must.",
  );
  const entry = `${organizationId}|${currency}|${seq}|${head}`;
  const root = followPath(
    entry,
    leaf,
    chains['count'],
    path.map((hash) => Buffer.from(hash, 'hex')),
  );
  assertProven(
    root?.toString('hex') === chains['root'],
    'The end of the chain shown with the proof is not one it was made over.',
  );
  return { organizationId, currency, seq, head };
}

function isHash(value: unknown): value is string {
  return typeof value === 'string' && HASH.test(value);
}
