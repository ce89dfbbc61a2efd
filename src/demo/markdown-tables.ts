import type TurndownService from 'turndown';
import type { DomElement } from './html-document.ts';

/** Tables of data become tables of GitHub Flavored Markdown; tables that only lay a page out become paragraphs. */
export function addTableRules(turndown: TurndownService): void {
  const rule = (name: string, tags: string[], replacement: (content: string, node: DomElement) => string) => {
    turndown.addRule(name, {
      filter: (node) => {
        const element = node as unknown as DomElement;
        return tags.includes(element.nodeName) && isDataTable(tableOf(element));
      },
      replacement: (content, node) => replacement(content, node),
    });
  };
  rule('tableCell', ['TH', 'TD'], (content, cell) => formatCell(content) + ' |'.repeat(spanOf(cell) - 1));
  rule('tableRow', ['TR'], (content, row) => {
    const cells = `\n|${content.replaceAll('\n', '')}`;
    // The format knows no table without a header, so the first row is one whether it is marked or not.
    const isFirst = tableOf(row)?.querySelector('tr') === row;
    const columns = row.children.reduce((sum, cell) => sum + spanOf(cell), 0);
    return isFirst ? `${cells}\n|${' --- |'.repeat(columns)}` : cells;
  });
  rule('tableSection', ['THEAD', 'TBODY', 'TFOOT'], (content) => content);
  rule('tableCaption', ['CAPTION'], (content) => `\n\n${content.trim()}\n\n`);
  rule('table', ['TABLE'], (content) => `\n\n${content.trim()}\n\n`);
}

function formatCell(content: string): string {
  return ` ${content
    .trim()
    .replace(/\s*\n\s*/g, ' ')
    .replaceAll('|', '\\|')} |`;
}

function spanOf(cell: DomElement): number {
  const span = Number.parseInt(cell.getAttribute('colspan') ?? '1', 10) || 1;
  return Math.min(Math.max(span, 1), 100);
}

function tableOf(element: DomElement): DomElement | null {
  let table: DomElement | null = element;
  while (table && table.nodeName !== 'TABLE') table = table.parentNode;
  return table;
}

const known = new WeakMap<DomElement, boolean>();

function isDataTable(table: DomElement | null): boolean {
  if (!table) return false;
  const answer =
    known.get(table) ??
    (table.querySelectorAll('tr').length > 1 &&
      table.querySelectorAll('tr').some((row) => row.children.length > 1) &&
      !table.querySelector('table, ul, ol, pre, blockquote, h1, h2, h3, h4'));
  known.set(table, answer);
  return answer;
}
