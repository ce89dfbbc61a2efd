import type { DomElement } from './html-document.ts';
import { childNodesOf, rename, textOf } from './html-tree.ts';

/**
 * Leaves only tables of data as tables. Those that lay a page out become blocks one after another, and in the
 * cells of the others there is nothing that a line of Markdown cannot hold.
 */
export function separateTables(root: DomElement): void {
  for (const table of root.querySelectorAll('table')) {
    // The one around it may have taken it apart.
    if (!table.parentNode || !isWithin(table, root)) continue;
    if (isDataTable(table)) simplifyCells(table);
    else dissolveTable(table);
  }
}

export function rowsOf(table: DomElement): DomElement[][] {
  const sections = table.children.filter(({ nodeName }) => SECTIONS.includes(nodeName));
  const loose = table.children.filter(({ nodeName }) => nodeName === 'TR');
  return [
    // A browser shows the foot last wherever it stands.
    ...SECTIONS.flatMap((name) => sections.filter(({ nodeName }) => nodeName === name)).map((section) =>
      section.children.filter(({ nodeName }) => nodeName === 'TR'),
    ),
    loose,
  ];
}

const SECTIONS = ['THEAD', 'TBODY', 'TFOOT'];

export function cellsOf(row: DomElement): DomElement[] {
  return row.children.filter(({ nodeName }) => nodeName === 'TD' || nodeName === 'TH');
}

function isDataTable(table: DomElement): boolean {
  const role = table.getAttribute('role')?.trim().toLowerCase();
  if (role === 'presentation' || role === 'none') return false;
  const rows = rowsOf(table).flat();
  const names = new Set(table.children.map(({ nodeName }) => nodeName));
  if (names.has('CAPTION') || names.has('THEAD')) return true;
  if (rows.some((row) => row.children.some(({ nodeName }) => nodeName === 'TH'))) return true;
  return (
    rows.length > 1 &&
    rows.some((row) => cellsOf(row).length > 1) &&
    !table.querySelector('table, pre, blockquote, h1, h2, h3, h4')
  );
}

function isWithin(element: DomElement, root: DomElement): boolean {
  let parent: DomElement | null = element;
  while (parent && parent !== root) parent = parent.parentNode;
  return parent === root;
}

function dissolveTable(table: DomElement): void {
  for (const part of table.children) {
    if (part.nodeName === 'COLGROUP' || part.nodeName === 'COL') part.remove();
  }
  for (const rows of rowsOf(table)) {
    for (const row of rows) {
      for (const cell of cellsOf(row)) rename(cell, 'div');
      rename(row, 'div');
    }
  }
  for (const part of table.children) rename(part, 'div');
  rename(table, 'div');
}

function simplifyCells(table: DomElement): void {
  for (const inner of table.querySelectorAll('table')) if (isWithin(inner, table)) listRows(inner);
  for (const cell of table.querySelectorAll('td, th')) {
    for (const heading of cell.querySelectorAll('h1, h2, h3, h4, h5, h6')) {
      const block = rename(heading, 'p');
      const mark = block.ownerDocument.createElement('strong');
      for (const child of childNodesOf(block)) mark.appendChild(child);
      block.appendChild(mark);
    }
    for (const quotation of cell.querySelectorAll('blockquote')) rename(quotation, 'div');
    for (const rule of cell.querySelectorAll('hr')) rule.remove();
  }
}

/** A table within a cell becomes a line per row, its values apart. */
function listRows(table: DomElement): void {
  const document = table.ownerDocument;
  for (const inner of table.querySelectorAll('table')) if (isWithin(inner, table)) listRows(inner);
  const list = document.createElement('div');
  const caption = table.querySelector('caption');
  if (caption) list.appendChild(rename(caption, 'div'));
  for (const row of rowsOf(table).flat()) {
    const line = document.createElement('div');
    for (const cell of cellsOf(row)) {
      if (textOf(cell) !== '' && line.firstChild) line.appendChild(document.createTextNode('; '));
      for (const child of childNodesOf(cell)) line.appendChild(child);
    }
    list.appendChild(line);
  }
  table.replaceWith(list);
}
