import { createRoute, z } from '@hono/zod-openapi';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { accepts } from 'hono/accepts';
import { readReceipt, type Receipts, type SignedReceipt } from '../audit/receipts.ts';
import { Problem } from '../base/problem.ts';
import { parseWholeNumber } from '../base/whole-number.ts';
import { receiptOut } from './call-answer.ts';
import { admitted } from './admission.ts';
import type { HttpDeps } from './deps.ts';
import type { HttpEnv } from './env.ts';
import { newRoutes, noQuery, refusals, signedIn } from './route.ts';
import { streamText } from './text-stream.ts';
import { badCursor, cursorIn, idIn, pageOf, wholeNumber } from './words.ts';

// What is signed and sent at a time, so that a chain of any length needs no more memory than this.
const BATCH = 200;

const chainPage = pageOf(receiptOut)
  .extend({
    chain: z.object({ seq: z.number().int(), head: z.string() }).nullable().openapi({
      description: 'Where the chain ends now: its last number, and the SHA-256 of that payload.',
    }),
  })
  .openapi('ReceiptPage');

export type ReceiptBody = z.infer<typeof receiptOut>;
export type ReceiptPageBody = z.infer<typeof chainPage>;

/** The receipts of the key's organization, in the key's own currency. Each answer is signed with today's key. */
export function receiptRoutes(deps: HttpDeps): OpenAPIHono<HttpEnv> {
  const { receipts } = deps.calls;

  const show = createRoute({
    method: 'get',
    path: '/v1/billing/receipts/{call}',
    tags: ['billing'],
    summary: 'The signed receipt of one call',
    description: 'With `Accept: application/jose` the compact JWS alone.',
    ...signedIn(deps, 'billing:read'),
    request: { params: z.object({ call: idIn }), query: noQuery },
    responses: {
      200: {
        description: 'The receipt.',
        content: { 'application/json': { schema: receiptOut }, 'application/jose': { schema: z.string() } },
      },
      ...refusals,
    },
  });
  const list = createRoute({
    method: 'get',
    path: '/v1/billing/receipts',
    tags: ['billing'],
    summary: 'The chain of receipts, from the first',
    description:
      'With `format=jsonl` or `Accept: application/jsonl` the whole chain from there as a file, one receipt a line, ' +
      'to be checked with `sentinel receipts verify --chain`.',
    ...admitted(deps, 'billing:read'),
    request: {
      query: z.strictObject({
        from_seq: wholeNumber(1, 999_999_999, 1),
        format: z.enum(['json', 'jsonl']).optional(),
        limit: wholeNumber(1, 1_000, 100),
        cursor: cursorIn,
      }),
    },
    responses: { 200: pageOrFile, ...refusals },
  });

  return newRoutes()
    .openapi(show, async (c) => {
      const receipt = await receipts.findOf(c.get('caller').accountId, c.req.valid('param').call);
      if (!receipt) throw new Problem('NOT_FOUND', 'There is no such receipt here.');
      c.header('vary', 'Accept');
      const supports = ['application/json', 'application/jose'];
      if (accepts(c, { header: 'Accept', supports, default: 'application/json' }) === 'application/json') {
        return c.json(readReceipt(receipt), 200);
      }
      c.header('content-type', 'application/jose');
      return c.body(readReceipt(receipt).jws, 200) as never;
    })
    .openapi(list, async (c) => {
      const { accountId, currency } = c.get('caller');
      const { from_seq: asked, format, limit, cursor } = c.req.valid('query');
      const fromSeq = cursor === undefined ? asked : parseWholeNumber(cursor);
      if (fromSeq === undefined || fromSeq < 1) throw badCursor();
      const chain = (await receipts.findEnd(accountId)) ?? null;

      c.header('vary', 'Accept');
      const supports = ['application/json', 'application/jsonl'];
      const wanted = accepts(c, { header: 'Accept', supports, default: 'application/json' });
      if ((format ?? (wanted === 'application/jsonl' ? 'jsonl' : 'json')) === 'json') {
        const items = (await receipts.list(accountId, fromSeq, limit)).map(readReceipt);
        const next = (items.at(-1)?.seq ?? 0) + 1;
        const isMore = items.length > 0 && chain !== null && next <= chain.seq;
        return c.json({ items, next_cursor: isMore ? String(next) : null, chain }, 200);
      }
      const lines = linesOf(receipts, accountId, fromSeq, chain?.seq ?? 0);
      const head = await lines.next();
      c.header('content-type', 'application/jsonl');
      c.header('content-disposition', `attachment; filename="receipts-${currency}.jsonl"`);
      const what = 'a chain of receipts';
      return c.body(streamText(head.value ?? '', lines, { log: deps.log, what }), 200) as never;
    });
}

const pageOrFile = {
  description: 'A page of the chain, or all of it.',
  content: {
    'application/json': { schema: chainPage },
    'application/jsonl': { schema: z.string() },
  },
} as const;

/** To where the chain ended when it was asked for: it may grow faster than somebody reads. */
async function* linesOf(
  receipts: Receipts,
  accountId: bigint,
  fromSeq: number,
  lastSeq: number,
): AsyncGenerator<string> {
  for (let seq = fromSeq; seq <= lastSeq; seq += BATCH) {
    const batch = await receipts.list(accountId, seq, Math.min(BATCH, lastSeq - seq + 1));
    yield batch.map(toLine).join('');
  }
}

function toLine({ json }: SignedReceipt): string {
  return `${json}\n`;
}
