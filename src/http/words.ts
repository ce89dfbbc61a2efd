import { z } from '@hono/zod-openapi';
import { formatCredits, MICROS_PER_CREDIT, parseCredits } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { parseWholeNumber } from '../base/whole-number.ts';
import { BADGES } from '../catalog/agent.ts';

/** No single amount on this surface is larger: far beyond any use, and far below what overflows the ledger. */
export const MAX_AMOUNT_MICROS = 1_000_000_000n * MICROS_PER_CREDIT;

/** Beside a URL that is refused for where it leads. */
export const OPERATOR_MAY_ALLOW =
  'The operator of this gateway can allow http and private addresses with SENTINEL_ALLOW_PRIVATE_ENDPOINTS=true.';

const AMOUNT_WORDS = 'must be an amount of credits as a decimal string, such as "12.5"';

/** An amount a client sends, `"12.5"`, as micro-credits. */
export const amountIn = z
  .string({ error: (issue) => (issue.input === undefined ? 'is required' : AMOUNT_WORDS) })
  .transform((text, context) => {
    const micros = parseCredits(text);
    if (micros !== undefined && micros <= MAX_AMOUNT_MICROS) return micros;
    const message =
      micros === undefined ? AMOUNT_WORDS : `must be at most ${formatCredits(MAX_AMOUNT_MICROS)}`;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  })
  .openapi({ type: 'string', example: '12.5', description: 'Credits, as a decimal string.' });

/** An amount we send. */
export const amountOut = z
  .string()
  .openapi({ example: '12.5', description: 'Credits, as a decimal string.' });

/** A whole number in the query, where everything is text. */
export function wholeNumber(least: number, most: number, fallback: number) {
  const words = `must be a whole number from ${least} to ${most}`;
  return z
    .string({ error: words })
    .transform((text, context) => {
      const value = parseWholeNumber(text);
      if (value !== undefined && value >= least && value <= most) return value;
      context.addIssue({ code: 'custom', message: words });
      return z.NEVER;
    })
    .default(fallback)
    .openapi({ type: 'integer', minimum: least, maximum: most, default: fallback });
}

/** What can be kept as text: PostgreSQL keeps no NUL, and half a character is none. */
export function isText(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0');
}

/** Text of at most so many characters. */
export function textIn(most: number) {
  return z.string().max(most).refine(isText, 'must be text');
}

/** What may be an id; of what, and whether there is one, the handler knows. */
export const idIn = textIn(64);

/** Where a list continues; only ever what an earlier page said. */
export const cursorIn = textIn(1_000)
  .optional()
  .openapi({ description: 'The `next_cursor` of the page before.' });

/** A page of a list. */
export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.object({ items: z.array(item), next_cursor: z.string().nullable() });
}

/** One more row than asked for tells whether there is another page. */
export function toPage<Row, Item>(
  rows: readonly Row[],
  limit: number,
  format: (row: Row) => Item,
  cursorOf: (row: Row) => string,
): { items: Item[]; next_cursor: string | null } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(format),
    next_cursor: rows.length > limit && last !== undefined ? cursorOf(last) : null,
  };
}

/** A cursor nobody was given; starting from the first page instead would look like an endless list. */
export function badCursor(): Problem {
  return new Problem('INVALID_INPUT', 'The cursor does not belong to this list.', {
    faults: [{ path: '/cursor', message: 'is not a cursor of this list; start again without it' }],
  });
}

export const agentIdIn = idIn.openapi({ example: 'agt_pdf_summariser_v2' });
export const webhookIdIn = idIn.openapi({ example: 'whe_0199f2…' });
export const organizationIdIn = idIn.openapi({ example: 'org_0199f2…' });
export const badgeOut = z.enum(BADGES).nullable();
export const moment = z.string().openapi({ format: 'date-time' });

const YEARS_WORDS = 'must be of the years 1970 to 9999';

/** What other years there are PostgreSQL writes in its own way, or not at all. */
function isOfOurTime(time: Date): boolean {
  const year = time.getUTCFullYear();
  return year >= 1970 && year <= 9999;
}

/** A UTC day. */
export const dayIn = z.iso
  .date({ error: 'must be a day such as 2026-01-31' })
  .refine((day) => isOfOurTime(new Date(day)), YEARS_WORDS);

/** A time a client sends; a date alone is the beginning of that UTC day. */
const momentIn = z
  .union([z.iso.datetime({ offset: true }), z.iso.date()], { error: 'must be a date or an ISO 8601 time' })
  .transform((text) => new Date(text))
  .refine(isOfOurTime, YEARS_WORDS)
  .optional();

/** Between which moments, in a query. */
export const timesIn = {
  from: momentIn.openapi({
    type: 'string',
    format: 'date-time',
    description: 'From this moment on; a date alone is the beginning of that UTC day.',
  }),
  to: momentIn.openapi({
    type: 'string',
    format: 'date-time',
    description: 'Up to and without this moment; not before `from`.',
  }),
};

/** Throws where a time ends before it begins: nothing is ever in it, and an empty answer would not say why. */
export function assertInOrder(from: Date | undefined, to: Date | undefined): void {
  if (from === undefined || to === undefined || from <= to) return;
  throw new Problem(
    'INVALID_INPUT',
    `The time ends at ${to.toISOString()}, before it begins at ${from.toISOString()}. Exchange \`from\` and \`to\`.`,
    { faults: [{ path: '/to', message: 'must not be before `from`' }] },
  );
}

/** One or more of some words: `x=a&x=b` or `x=a,b`. */
export function listIn<const Words extends readonly string[]>(words: Words) {
  const message = `must be one or more of ${words.join(', ')}`;
  return z
    .union([z.string(), z.array(z.string())], { error: message })
    .transform((given, context) => {
      const asked = [given].flat().flatMap((each) => each.split(','));
      if (asked.every((each): each is Words[number] => words.includes(each))) return asked;
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    })
    .optional()
    .openapi({ type: 'array', items: { type: 'string', enum: [...words] } });
}
