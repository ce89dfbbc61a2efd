import type { Currency } from '../base/money.ts';

/** What a key may do. `operator` may do everything, including what no organization may. */
export const SCOPES = [
  'agents:read',
  'agents:invoke',
  'agents:publish',
  'calls:read',
  'billing:read',
  'billing:write',
  'operator',
] as const;
export type Scope = (typeof SCOPES)[number];

/** Spending limits of one key, in micro-credits; an absent one does not limit. */
export type KeyCaps = {
  maxPerCallMicros?: bigint;
  capDayMicros?: bigint;
  capMonthMicros?: bigint;
  capTotalMicros?: bigint;
};

/** Who is calling, as far as the credential proves it. */
export type Caller = {
  keyId: string;
  organizationId: string;
  currency: Currency;
  scopes: ReadonlySet<Scope>;
  caps: KeyCaps;
  ratePerMinute: number;
  maxConcurrent: number;
  /** The ledger account this key spends from. */
  accountId: bigint;
  /** The ledger's counter of what this key spent; present exactly when the key has a cap that needs counting. */
  meterId?: bigint;
};
