import type TurndownService from 'turndown';
import type { DomElement } from './html-document.ts';
import { cellsOf, rowsOf } from './html-tables.ts';
import { Refusal } from './refusal.ts';

/** Tables become tables of GitHub Flavored Markdown, in which every value stands in the column it had. */
export function addTableRules(turndown: TurndownService): void {
  // The format knows no spans, so a table is laid out from its cells once all of them have been converted.
  const texts = new Map<DomElement, string>();
  const rule = (
    tags: TurndownService.TagName[],
    replacement: (content: string, node: DomElement) => string,
  ) => {
    turndown.addRule(tags.join(' '), {
      filter: tags,
      replacement: (content, node) => replacement(content, node),
    });
  };
  rule(['th', 'td'], (content, cell) => {
    texts.set(cell, formatCell(content));
    return '';
  });
  rule(['caption'], (content, caption) => {
    texts.set(caption, content.trim());
    return '';
  });
  rule(['tr', 'thead', 'tbody', 'tfoot', 'colgroup', 'col'], () => '');
  rule(['table'], (_, table) => {
    const captions = table.children.map((child) => (child.nodeName === 'CAPTION' ? texts.get(child) : ''));
    return `\n\n${captions.join('')}\n\n${formatGrid(layOut(table, texts))}\n\n`;
  });
}

function formatCell(content: string): string {
  return content
    .trim()
    .replace(/[ \t]*\ufdd0?\n+/g, '<br>')
    .replaceAll('|', '\\|');
}

/** More than a page of 5 MB has in any table that was not made to be large. */
const MAX_SLOTS = 1_000_000;
// HTML standard, "algorithm for processing rows".
const MAX_COLSPAN = 1_000;
const MAX_ROWSPAN = 65_534;

/** The rows with each value in its column (HTML standard, "forming a table"). A span leaves its other slots empty. */
function layOut(table: DomElement, texts: ReadonlyMap<DomElement, string>): string[][] {
  const grid: string[][] = [];
  let slots = 0;
  for (const rows of rowsOf(table)) {
    // For each column, the first row of the section that no cell from above reaches into.
    const freeFrom: number[] = [];
    for (const [index, row] of rows.entries()) {
      const values: string[] = [];
      let column = 0;
      for (const cell of cellsOf(row)) {
        while ((freeFrom[column] ?? 0) > index) column += 1;
        const columns = spanOf(cell, 'colspan', MAX_COLSPAN) || 1;
        // Counted while they are made: a few bytes of spans can ask for more slots than there is memory.
        slots += column + 1 - values.length;
        refuseBeyondLimit(slots);
        while (values.length < column) values.push('');
        values.push(texts.get(cell) ?? '');
        const last = index + (spanOf(cell, 'rowspan', MAX_ROWSPAN) || rows.length);
        // Where two cells overlap, the slot is taken until both have ended.
        for (const end = column + columns; column < end; column += 1)
          freeFrom[column] = Math.max(freeFrom[column] ?? 0, last);
      }
      grid.push(values);
    }
  }
  return grid.filter((row) => row.length > 0);
}

/** Zero reaches to the end of the section, which only rows may. */
function spanOf(cell: DomElement, attribute: 'colspan' | 'rowspan', max: number): number {
  const span = /^\s*\+?(\d+)/.exec(cell.getAttribute(attribute) ?? '')?.[1];
  return span === undefined ? 1 : Math.min(Number(span), max);
}

/** The format knows no table without a header, so the first row is one whether it is marked or not. */
function formatGrid(grid: string[][]): string {
  const width = grid.reduce((widest, row) => Math.max(widest, row.length), 0);
  refuseBeyondLimit(width * grid.length);
  const lines = grid.map((row) => {
    const cells = row.map((text) => (text === '' ? ' |' : ` ${text} |`));
    return `|${cells.join('')}${' |'.repeat(width - row.length)}`;
  });
  lines.splice(1, 0, `|${' --- |'.repeat(width)}`);
  return grid.length === 0 ? '' : lines.join('\n');
}

function refuseBeyondLimit(slots: number): void {
  if (slots > MAX_SLOTS)
    throw new Refusal(422, `A table on the page spans more than ${MAX_SLOTS / 1_000_000} million cells.`);
}
