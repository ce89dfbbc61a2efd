import { randomBytes, randomFillSync } from 'node:crypto';

/**
 * Ids are a prefix and the 32 hex digits of a UUIDv7 (RFC 9562 section 5.7), so they sort by the time they
 * were made, those of one process even within a millisecond, and an index on them grows at its right edge. We
 * make them before writing, so every write can be retried.
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
const RANDOM_BYTES = 10;
const POOL_BYTES = 256 * RANDOM_BYTES;
const pool = Buffer.allocUnsafe(POOL_BYTES);
let poolOffset = POOL_BYTES;

// Where the time and the version end stands a counter (section 6.2, method 1). It begins anywhere in the lower
// half of its range, so that it does not tell how many ids were made.
const COUNTER_MOST = 0xfff;
/** Set back further than this, the clock is followed: it was wrong before, and ids tell how old things are. */
const MOST_AHEAD_MS = 60_000;
let lastMs = 0;
let counter = 0;

function uuidv7Hex(): string {
  if (poolOffset === POOL_BYTES) {
    randomFillSync(pool);
    poolOffset = 0;
  }
  const random = pool.toString('hex', poolOffset, poolOffset + RANDOM_BYTES);
  poolOffset += RANDOM_BYTES;
  const now = Date.now();
  if (now > lastMs || now < lastMs - MOST_AHEAD_MS) {
    lastMs = now;
    counter = Number.parseInt(random.slice(16, 19), 16) >> 1;
  } else if (counter < COUNTER_MOST) {
    counter += 1;
  } else {
    // Also while the clock is set back a little: time stands still here until it has caught up.
    lastMs += 1;
    counter = 0;
  }
  const milliseconds = lastMs.toString(16).padStart(12, '0');
  const variant = '89ab'[Number.parseInt(random.charAt(0), 16) & 3];
  return `${milliseconds}7${counter.toString(16).padStart(3, '0')}${variant}${random.slice(1, 16)}`;
}
