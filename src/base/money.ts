import { invariant } from './invariant.ts';

/** One credit is US$0.01 and is stored as 1,000,000 micro-credits. */
export const MICROS_PER_CREDIT = 1_000_000n;
export const CREDITS_PER_USD = 100n;
export const BASIS_POINTS_IN_WHOLE = 10_000n;

/** The two currencies never mix: `test` credits are for trying things out and buy nothing. */
export type Currency = 'live' | 'test';

// Twelve digits: a trillion credits in micro-credits is the largest power of ten PostgreSQL's bigint holds.
const CREDITS = /^(0|[1-9][0-9]{0,11})(?:\.([0-9]{1,6}))?$/;

/** `"12.5"` → 12500000n. Undefined when the text is not a plain non-negative decimal of at most six places. */
export function parseCredits(text: string): bigint | undefined {
  const match = CREDITS.exec(text);
  if (!match?.[1]) return undefined;
  return BigInt(match[1]) * MICROS_PER_CREDIT + BigInt((match[2] ?? '').padEnd(6, '0'));
}

/** 12500000n → `"12.5"`. The shortest exact decimal; a debt keeps its minus sign. */
export function formatCredits(micros: bigint): string {
  const sign = micros < 0n ? '-' : '';
  const size = micros < 0n ? -micros : micros;
  const whole = size / MICROS_PER_CREDIT;
  const rest = size % MICROS_PER_CREDIT;
  if (rest === 0n) return `${sign}${whole}`;
  return `${sign}${whole}.${rest.toString().padStart(6, '0').replace(/0+$/, '')}`;
}

/** 15000000n → `"0.15"`: at least two places, more only where the amount needs them. */
export function formatUsd(micros: bigint): string {
  const sign = micros < 0n ? '-' : '';
  const size = micros < 0n ? -micros : micros;
  const microsPerUsd = MICROS_PER_CREDIT * CREDITS_PER_USD;
  const fraction = (size % microsPerUsd).toString().padStart(8, '0').replace(/0+$/, '').padEnd(2, '0');
  return `${sign}${size / microsPerUsd}.${fraction}`;
}

/** The fee rounds down and the seller takes the rest, so the two parts always add up to the price. */
export function splitPrice(
  priceMicros: bigint,
  feeBasisPoints: bigint,
): { feeMicros: bigint; proceedsMicros: bigint } {
  invariant(priceMicros >= 0n, 'a price is never negative');
  invariant(
    feeBasisPoints >= 0n && feeBasisPoints <= BASIS_POINTS_IN_WHOLE,
    'a fee is at most the whole price',
  );
  const feeMicros = (priceMicros * feeBasisPoints) / BASIS_POINTS_IN_WHOLE;
  return { feeMicros, proceedsMicros: priceMicros - feeMicros };
}
