import { randomBytes, randomFillSync } from 'node:crypto';

/**
 * Ids are a prefix and the 32 hex digits of a UUIDv7 (RFC 9562 section 5.7), so they sort by the time they
 * were made and an index on them grows at its right edge. We make them before writing, so every write can
 * be retried.
 */
export type IdPrefix =
  | 'call'
  | 'org'
  | 'key'
  | 'req'
  | 'txn'
  | 'run'
  /** A top-up, a dispute, a payout. */
  | 'top'
  | 'dsp'
  | 'pay'
  /** An event, a webhook endpoint, a webhook delivery. */
  | 'evt'
  | 'whe'
  | 'whd';

export function newId(prefix: IdPrefix): string {
  return `${prefix}_${uuidv7Hex()}`;
}

/** `call_0199…` → the UUID PostgreSQL stores. Undefined when the text is not an id of that kind. */
export function uuidOfId(prefix: IdPrefix, id: string): string | undefined {
  const hex = id.slice(prefix.length + 1);
  return id.startsWith(`${prefix}_`) && /^[0-9a-f]{32}$/.test(hex) ? hex : undefined;
}

/** The id a stored UUID stands for, whether PostgreSQL wrote it with dashes or not. */
export function idOfUuid(prefix: IdPrefix, uuid: string): string {
  return `${prefix}_${uuid.replaceAll('-', '')}`;
}

/** A secret with `bytes` bytes of entropy, as lower-case hex. */
export function newSecret(bytes: number): string {
  return randomBytes(bytes).toString('hex');
}

// One system call fills the randomness of 256 ids: a call on the hot path makes two of them.
const POOL_BYTES = 256 * 10;
const pool = Buffer.allocUnsafe(POOL_BYTES);
let poolOffset = POOL_BYTES;

function uuidv7Hex(): string {
  if (poolOffset === POOL_BYTES) {
    randomFillSync(pool);
    poolOffset = 0;
  }
  const tail = pool.toString('hex', poolOffset, poolOffset + 10);
  poolOffset += 10;
  const milliseconds = Date.now().toString(16).padStart(12, '0');
  const variant = '89ab'[Number.parseInt(tail.charAt(3), 16) & 3];
  return `${milliseconds}7${tail.slice(0, 3)}${variant}${tail.slice(4, 19)}`;
}
