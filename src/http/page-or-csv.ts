import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { accepts } from 'hono/accepts';
import { formatCsv } from './csv.ts';
import type { HttpEnv } from './env.ts';
import { pageOf } from './words.ts';

/** What a route whose pages may be read as CSV says about them. */
export const CSV_PAGES =
  'As CSV with `format=csv` or `Accept: text/csv`; the next page is then in the Link header.';

export const formatIn = z.enum(['json', 'csv']).optional();

export function pageOrCsv<Item extends z.ZodType>(item: Item, description: string) {
  return {
    description,
    content: { 'application/json': { schema: pageOf(item) }, 'text/csv': { schema: z.string() } },
  };
}

/** The page in the form the query or the Accept header asks for; JSON where neither says. */
export function answerPage<Column extends string>(
  c: Context<HttpEnv>,
  page: { items: readonly Record<Column, unknown>[]; next_cursor: string | null },
  asked: {
    format: 'json' | 'csv' | undefined;
    columns: readonly Column[];
    fileName: string;
    publicUrl: string;
  },
): Response {
  const { format, columns, fileName, publicUrl } = asked;
  const supports = ['application/json', 'text/csv'];
  const wanted = accepts(c, { header: 'Accept', supports, default: 'application/json' });
  if ((format ?? (wanted === 'text/csv' ? 'csv' : 'json')) === 'json') return c.json(page, 200);

  if (page.next_cursor !== null) {
    const next = new URL(c.req.url).searchParams;
    next.set('cursor', page.next_cursor);
    c.header('link', `<${publicUrl}${c.req.path}?${next.toString()}>; rel="next"`);
  }
  c.header('content-type', 'text/csv; charset=utf-8');
  c.header('content-disposition', `attachment; filename="${fileName}"`);
  const rows = page.items.map((item) => columns.map((column) => String(item[column] ?? '')));
  return c.body(formatCsv(columns, rows), 200);
}
