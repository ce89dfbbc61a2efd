import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { unreachable } from '../base/invariant.ts';
import type { Agent } from '../catalog/agent.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { estimateTokens } from '../catalog/describe.ts';
import { filterKey } from '../catalog/search.ts';
import type { View } from './connection.ts';
import { META_TOOLS_TEXT } from './meta-tool-list.ts';
import { formatTool } from './tool-text.ts';

/** Pages of `tools/list`. The same page until the catalogue changes. */
export type ToolList = {
  /** Undefined when the cursor is not one of this list's. */
  page(view: View, cursor: string | undefined): ToolPage | undefined;
};

export type ToolPage = {
  /** The members of the result as JSON: `"tools":[…]` and, if more, `,"nextCursor":"…"`. */
  text: string;
  /** Whose prices are on it. */
  agents: readonly Agent[];
};

const PAGE_SIZE = 50;
const MAX_CACHED_CHARACTERS = 32 * 1024 * 1024;
const MAX_CURSOR_LENGTH = 400;

/** A page is made once for each revision of the catalogue, so its cost does not grow with the catalogue. */
export function createToolList(catalog: Catalog): ToolList {
  const pages = new LRUCache<string, ToolPage>({
    maxSize: MAX_CACHED_CHARACTERS,
    sizeCalculation: ({ text }) => text.length + 1,
  });
  let revision = catalog.revision;

  return {
    page(view, cursor) {
      if (catalog.revision !== revision) {
        pages.clear();
        ({ revision } = catalog);
      }
      const name = cursor === undefined ? view.key : `${view.key} ${cursor}`;
      let page = pages.get(name);
      if (page === undefined) {
        page = makePage(view, cursor, catalog);
        if (page !== undefined) pages.set(name, page);
      }
      return page;
    },
  };
}

function makePage(view: View, cursor: string | undefined, catalog: Catalog): ToolPage | undefined {
  switch (view.tools) {
    case 'meta':
      return cursor === undefined ? { text: `"tools":[${META_TOOLS_TEXT}]`, agents: [] } : undefined;
    case 'auto':
      return cursor === undefined ? fitTools(catalog.list(view.filters), view.maxListTokens) : undefined;
    case 'direct':
      return directPage(view, cursor, catalog.list(view.filters));
    default:
      return unreachable(view.tools);
  }
}

/** Every agent while they fit; else the best that fit beside the tools that find and call the rest. */
function fitTools(agents: readonly Agent[], maxTokens: number): ToolPage {
  const metaTokens = estimateTokens(META_TOOLS_TEXT);
  const tools: string[] = [];
  let tokens = 0;
  let countBesideMeta = 0;
  for (const agent of agents) {
    const text = formatTool(agent);
    tokens += estimateTokens(text);
    if (tokens > maxTokens) {
      const shown = [...tools.slice(0, countBesideMeta), META_TOOLS_TEXT];
      return { text: `"tools":[${shown.join(',')}]`, agents: agents.slice(0, countBesideMeta) };
    }
    tools.push(text);
    if (tokens + metaTokens <= maxTokens) countBesideMeta = tools.length;
  }
  return { text: `"tools":[${tools.join(',')}]`, agents };
}

function directPage(view: View, cursor: string | undefined, agents: readonly Agent[]): ToolPage | undefined {
  const after = cursor === undefined ? undefined : parseCursor(cursor, view);
  if (cursor !== undefined && after === undefined) return undefined;
  // By the last agent's place in the order and not by a number: agents come and go between two pages.
  const found = after === undefined ? 0 : agents.findIndex((agent) => isAfter(agent, after));
  const start = found === -1 ? agents.length : found;
  const shown = agents.slice(start, start + PAGE_SIZE);
  const tools = `"tools":[${shown.map(formatTool).join(',')}]`;
  const last = shown.at(-1);
  if (last === undefined || start + PAGE_SIZE >= agents.length) return { text: tools, agents: shown };
  return { text: `${tools},"nextCursor":"${formatCursor(last, view)}"`, agents: shown };
}

type Place = { trustScore: number; id: string };

/** In the order of the catalogue: best trust first, then by id. */
function isAfter(agent: Place, place: Place): boolean {
  return (
    agent.trustScore < place.trustScore || (agent.trustScore === place.trustScore && agent.id > place.id)
  );
}

/**
 * A cursor continues the list it came from: with other filters it would skip what it should show, so it
 * carries a check of both. It protects nothing, whatever place it names, the filters bind the page.
 */
function formatCursor({ trustScore, id }: Place, view: View): string {
  const check = createHash('sha256')
    .update(`${filterKey(view.filters)} ${trustScore} ${id}`)
    .digest('base64url');
  return Buffer.from(`${trustScore} ${id} ${check.slice(0, 12)}`).toString('base64url');
}

function parseCursor(cursor: string, view: View): Place | undefined {
  if (cursor.length > MAX_CURSOR_LENGTH) return undefined;
  const [score = '', id = ''] = Buffer.from(cursor, 'base64url').toString().split(' ');
  if (!/^[0-9]{1,3}$/.test(score)) return undefined;
  const place = { trustScore: Number(score), id };
  return formatCursor(place, view) === cursor ? place : undefined;
}
