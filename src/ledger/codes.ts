/* What `ledger_apply` answers: one character for each resolution and each hold. These tables are the comment at its head. */

export type LedgerCode = string;

/** Never sent: the hold was given up before its batch left. */
export const GIVEN_UP: LedgerCode = '~';
/** The server refused the statement itself, and with it this order alone. */
export const REFUSED: LedgerCode = '!';

export type HoldAnswer =
  | { kind: 'placed' }
  | { kind: 'insufficient' }
  /** It would pass a cap of the whole balance, or of the hold's meter at this place, from 0. */
  | { kind: 'cap'; cap: Cap; of: 'balance' | number }
  /** Another call holds this idempotency key. */
  | { kind: 'key_taken' };

export type Cap = 'day' | 'month' | 'total';

const HOLDS: Readonly<Record<LedgerCode, HoldAnswer>> = {
  '0': { kind: 'insufficient' },
  '1': { kind: 'placed' },
  // Placed before, by an attempt whose answer was lost.
  '2': { kind: 'placed' },
  k: { kind: 'key_taken' },
  T: { kind: 'cap', cap: 'total', of: 'balance' },
  M: { kind: 'cap', cap: 'month', of: 'balance' },
  D: { kind: 'cap', cap: 'day', of: 'balance' },
  t: { kind: 'cap', cap: 'total', of: 0 },
  m: { kind: 'cap', cap: 'month', of: 0 },
  d: { kind: 'cap', cap: 'day', of: 0 },
};

const CAPS: readonly Cap[] = ['total', 'month', 'day'];
const SECOND_METER = 'À'.charCodeAt(0);

/** Undefined for a code that no hold of ours should get. */
export function readHoldCode(code: LedgerCode): HoldAnswer | undefined {
  const known = HOLDS[code];
  if (known) return known;
  const beyond = code.charCodeAt(0) - SECOND_METER;
  const cap = CAPS[beyond % CAPS.length];
  return beyond >= 0 && cap ? { kind: 'cap', cap, of: 1 + Math.trunc(beyond / CAPS.length) } : undefined;
}

/** What became of a resolution: it is so, by this order or an earlier one that said the same; or it is otherwise. */
const RESOLUTIONS: Readonly<Record<LedgerCode, 'done' | 'lost'>> = {
  '1': 'done',
  '2': 'done',
  '3': 'lost',
  '5': 'lost',
};

/** Undefined for a code that no resolution of ours should get: no such hold, or a charge above it. */
export function readResolutionCode(code: LedgerCode): 'done' | 'lost' | undefined {
  return RESOLUTIONS[code];
}
