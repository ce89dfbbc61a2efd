import { and, asc, eq, gte } from 'drizzle-orm';
import { formatCredits, type Currency } from '../base/money.ts';
import { writeReceipt, type ReceiptPayload, type ReceiptTemplate } from '../base/receipt.ts';
import { invariant } from '../base/invariant.ts';
import { idOfUuid, uuidOfId } from '../base/ids.ts';
import type { Db } from '../db/db.ts';
import { createJwsSigner, type JwsKey } from './compact-jws.ts';
import { receiptChains, receipts } from './tables.ts';

/** A receipt as a client gets it. `jws` is RFC 7515 compact, EdDSA, over exactly the other members. */
export type Receipt = ReceiptPayload & { jws: string };

/** A receipt on its way to a client. `json` is the text of a `Receipt`: most of them are never read here. */
export type SignedReceipt = { callId: string; json: string };

export function readReceipt({ json }: SignedReceipt): Receipt {
  return JSON.parse(json) as Receipt;
}

/** What is known of a receipt before it has its place in the chain. */
export type ReceiptFacts = {
  agentId: string;
  agentVersion: string;
  callId: string;
  chargedMicros: bigint;
  code: string | undefined;
  currency: Currency;
  endedAt: string;
  feeMicros: bigint;
  heldMicros: bigint;
  inputHash: string;
  keyId: string;
  manifestHash: string;
  organizationId: string;
  outputHash: string | undefined;
  startedAt: string;
};

/** The payload but for `prev` and `seq`, which PostgreSQL puts between the two parts. */
export function receiptTemplate(facts: ReceiptFacts): ReceiptTemplate {
  const template = writeReceipt({
    agent_id: text(facts.agentId),
    agent_version: text(facts.agentVersion),
    call_id: text(facts.callId),
    charged: text(formatCredits(facts.chargedMicros)),
    code: facts.code === undefined ? undefined : text(facts.code),
    currency: text(facts.currency),
    ended_at: text(facts.endedAt),
    fee: text(formatCredits(facts.feeMicros)),
    held: text(formatCredits(facts.heldMicros)),
    input_hash: text(facts.inputHash),
    key_id: text(facts.keyId),
    manifest_hash: text(facts.manifestHash),
    organization_id: text(facts.organizationId),
    outcome: facts.code === undefined ? '"settled"' : '"refunded"',
    output_hash: facts.outputHash === undefined ? 'null' : text(facts.outputHash),
    started_at: text(facts.startedAt),
  });
  // Ids, versions, codes, hashes and times have no character that JSON reads as its own.
  invariant(PLAIN.test(template.before) && PLAIN.test(template.after), 'a receipt is plain');
  return template;
}
const PLAIN = /^[\x20-\x5b\x5d-\x7e]*$/;

function text(plain: string): string {
  return `"${plain}"`;
}

/** Of a hold nobody resolved: the members PostgreSQL fills in from the hold, numbered as `ledger_expire_batch` says. */
export const EXPIRED_RECEIPT: ReceiptTemplate = writeReceipt({
  agent_id: '%1$s',
  agent_version: '%2$s',
  call_id: '%3$s',
  charged: '"0"',
  code: '"INTERNAL"',
  currency: '%4$s',
  ended_at: '%5$s',
  fee: '"0"',
  held: '%6$s',
  input_hash: '%7$s',
  key_id: '%8$s',
  manifest_hash: '%9$s',
  organization_id: '%10$s',
  outcome: '"refunded"',
  output_hash: 'null',
  started_at: '%11$s',
});

/** The template with its place filled in: byte for byte what the database filed. */
export function receiptPayload(
  { before, after }: ReceiptTemplate,
  { prev, seq }: { prev: string; seq: string },
): string {
  return `${before}${prev}","seq":${seq}${after}`;
}

/** Where a chain of receipts ends: how many there are, and the SHA-256 of the last payload. */
export type ChainEnd = { seq: number; head: string };

/** Receipts as they leave the house. Each is signed when it is asked for, with the key of today. */
export type Receipts = {
  /** Signs the payload of a call's receipt, which is filed already. */
  sign(callId: string, payload: string): Promise<SignedReceipt>;
  /** The receipt of one call, signed again; undefined when the call never reached a hold. */
  find(callId: string): Promise<SignedReceipt | undefined>;
  /** The same, when the call was paid from this balance. */
  findOf(accountId: bigint, callId: string): Promise<SignedReceipt | undefined>;
  /** The chain of one balance in its order, beginning at a number. */
  list(accountId: bigint, fromSeq: number, limit: number): Promise<SignedReceipt[]>;
  /** Undefined while the balance has no receipt. */
  findEnd(accountId: bigint): Promise<ChainEnd | undefined>;
};

export const RECEIPT_TYP = 'sentinel-receipt+jws';

/** `keyId` names the public half of the key `sign` uses, in our JWKS. */
export function createReceipts(db: Db, key: JwsKey): Receipts {
  const signJws = createJwsSigner(key, RECEIPT_TYP);

  async function sign(callId: string, payload: string): Promise<SignedReceipt> {
    return { callId, json: `${payload.slice(0, -1)},"jws":"${await signJws(payload)}"}` };
  }

  return {
    sign,
    find: async (callId) => {
      const uuid = uuidOfId('call', callId);
      if (uuid === undefined) return undefined;
      const [row] = await db.select().from(receipts).where(eq(receipts.callId, uuid));
      return row && sign(callId, row.payload);
    },
    findOf: async (accountId, callId) => {
      const uuid = uuidOfId('call', callId);
      if (uuid === undefined) return undefined;
      const [row] = await db
        .select()
        .from(receipts)
        .where(and(eq(receipts.callId, uuid), eq(receipts.accountId, accountId)));
      return row && sign(callId, row.payload);
    },
    list: async (accountId, fromSeq, limit) => {
      const rows = await db
        .select()
        .from(receipts)
        .where(and(eq(receipts.accountId, accountId), gte(receipts.seq, BigInt(fromSeq))))
        .orderBy(asc(receipts.seq))
        .limit(limit);
      return Promise.all(rows.map((row) => sign(idOfUuid('call', row.callId), row.payload)));
    },
    findEnd: async (accountId) => {
      const [row] = await db.select().from(receiptChains).where(eq(receiptChains.accountId, accountId));
      return row && { seq: Number(row.seq), head: row.head.toString('hex') };
    },
  };
}
