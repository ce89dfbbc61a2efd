import { hash } from 'node:crypto';
import { canonicalJson, hashJson } from '../base/canonical-json.ts';
import type { Json, JsonObject } from '../base/json.ts';
import { formatCredits, parseCredits } from '../base/money.ts';
import type { ReceiptPayload } from '../base/receipt.ts';
import { verifyCompactJws } from './compact-jws.ts';
import type { KeySet } from './key-set.ts';
import { assertProven } from './not-verified.ts';

/** A receipt as it was found: what is signed, and what was shown beside it, if anything. */
export type FoundReceipt = { jws: string; shown?: JsonObject };

/** A receipt that is genuine, with the hash the next one of its chain carries. */
export type ProvenReceipt = { receipt: ReceiptPayload; hash: string; keyId: string };

const TYP = 'sentinel-receipt+jws';

const HASH = /^[0-9a-f]{64}$/;
const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;
const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';
const isHash = (value: unknown): boolean => typeof value === 'string' && HASH.test(value);
const isTime = (value: unknown): boolean => typeof value === 'string' && TIME.test(value);

const FORM: Record<keyof ReceiptPayload, (value: Json | undefined) => boolean> = {
  agent_id: isText,
  agent_version: (value) => value === null || isText(value),
  call_id: (value) => typeof value === 'string' && /^call_[0-9a-f]{32}$/.test(value),
  charged: (value) => amountOf(value) !== undefined,
  code: (value) => value === undefined || isText(value),
  currency: (value) => value === 'live' || value === 'test',
  ended_at: isTime,
  fee: (value) => amountOf(value) !== undefined,
  held: (value) => amountOf(value) !== undefined,
  input_hash: isHash,
  key_id: isText,
  manifest_hash: (value) => value === null || isHash(value),
  organization_id: isText,
  outcome: (value) => value === 'settled' || value === 'refunded',
  output_hash: (value) => value === null || isHash(value),
  prev: isHash,
  seq: (value) => Number.isSafeInteger(value) && (value as number) >= 1,
  started_at: isTime,
  v: (value) => value === 1,
};

/** Checks one receipt with nothing but the key set. Throws `NotVerified` with the reason. */
export function verifyReceipt({ jws, shown }: FoundReceipt, keys: KeySet): ProvenReceipt {
  const { keyId, text, payload } = verifyCompactJws(jws, keys, TYP);
  assertForm(payload);
  assertMoneyAddsUp(payload);
  if (shown !== undefined) assertShownIsSigned(shown, payload);
  return { receipt: payload, hash: hash('sha256', text, 'hex'), keyId };
}

/** That the receipt is for these arguments, or this answer. */
export function assertHashOf(receipt: ReceiptPayload, what: 'input' | 'output', value: Json): void {
  const expected = receipt[`${what}_hash`];
  assertProven(expected !== null, 'It is for a call without a valid answer.');
  assertProven(hashJson(value) === expected, `It is for another ${what} than the one given.`);
}

function assertForm(payload: JsonObject): asserts payload is ReceiptPayload {
  for (const [name, isRight] of Object.entries(FORM)) {
    assertProven(isRight(payload[name]), `Its payload is no receipt: "${name}" is not what it must be.`);
  }
  const unknown = Object.keys(payload).find((name) => !Object.hasOwn(FORM, name));
  assertProven(unknown === undefined, `Its payload is no receipt: "${unknown}" is not known.`);
}

function assertMoneyAddsUp({ held, charged, fee, outcome, code, output_hash }: ReceiptPayload): void {
  const [heldMicros = 0n, chargedMicros = 0n, feeMicros = 0n] = [held, charged, fee].map(amountOf);
  assertProven(chargedMicros <= heldMicros, 'It charges more than was held.');
  assertProven(feeMicros <= chargedMicros, 'Its fee is more than its charge.');
  if (outcome === 'settled') {
    assertProven(code === undefined, 'It is settled and has the code of a failure.');
  } else {
    assertProven(code !== undefined, 'It is a refund and does not say why.');
    assertProven(chargedMicros === 0n, 'It is a refund and charges something.');
    assertProven(output_hash === null, 'It is a refund and has an answer.');
  }
}

/** People read the members beside the signature, so these must be what is signed, no more and no less. */
function assertShownIsSigned(shown: JsonObject, signed: JsonObject): void {
  for (const name of new Set([...Object.keys(signed), ...Object.keys(shown)])) {
    const [told, meant] = [own(shown, name), own(signed, name)];
    assertProven(meant !== undefined, `It shows "${name}", which is not signed.`);
    assertProven(told !== undefined, `It does not show "${name}", which is signed.`);
    assertProven(
      canonicalJson(told) === canonicalJson(meant),
      `It shows ${JSON.stringify(told)} as "${name}"; what is signed is ${JSON.stringify(meant)}.`,
    );
  }
}

function own(object: JsonObject, name: string): Json | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** An amount in its one spelling. */
function amountOf(value: Json | undefined): bigint | undefined {
  const micros = typeof value === 'string' ? parseCredits(value) : undefined;
  return micros !== undefined && formatCredits(micros) === value ? micros : undefined;
}
