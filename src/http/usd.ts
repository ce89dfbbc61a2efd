import { z } from '@hono/zod-openapi';
import { formatUsd, MICROS_PER_CREDIT } from '../base/money.ts';

const WORDS = 'must be dollars with at most two decimals, such as 25 or "25.00"';

/** Dollars a client sends, `25`, `12.5` or `"12.50"`, as cents. */
export function usdIn(leastCents: bigint, mostCents: bigint) {
  return z
    .union([z.number(), z.string()], {
      error: (issue) => (issue.input === undefined ? 'is required' : WORDS),
    })
    .transform((value, context) => {
      const cents = parseCents(String(value));
      if (cents !== undefined && cents >= leastCents && cents <= mostCents) return cents;
      const range = `must be at least ${usdOf(leastCents)} and at most ${usdOf(mostCents)}`;
      context.addIssue({ code: 'custom', message: cents === undefined ? WORDS : range });
      return z.NEVER;
    })
    .openapi({
      type: 'string',
      example: '25.00',
      description: `US dollars from ${usdOf(leastCents)} to ${usdOf(mostCents)}, as a number or a decimal string.`,
    });
}

/** Read as text, so that no amount is ever a binary fraction: JSON's 12.1 is written back as it was. */
function parseCents(text: string): bigint | undefined {
  const match = /^(0|[1-9][0-9]{0,8})(?:\.([0-9]{1,2}))?$/.exec(text);
  if (!match?.[1]) return undefined;
  return BigInt(match[1]) * 100n + BigInt((match[2] ?? '').padEnd(2, '0'));
}

/** 2500n → `"25.00"`. */
export function usdOf(cents: bigint): string {
  return formatUsd(cents * MICROS_PER_CREDIT);
}

export const usdOut = z
  .string()
  .openapi({ example: '25.00', description: 'US dollars, as a decimal string.' });
