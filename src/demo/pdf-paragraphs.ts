import type { TextLine } from './pdf-lines.ts';
import { withoutPageFurniture } from './pdf-furniture.ts';
import { toParts } from './pdf-parts.ts';
import { createWordJoiner } from './pdf-words.ts';

/**
 * A piece of a document. `text` is running text. A `fragment` is something else that says something, a line of a form
 * or of a slide; it is given only for a document that consists of such lines.
 */
export type Paragraph = { kind: 'text' | 'fragment'; page: number; text: string };

/**
 * Puts the lines of a document together again, without headings, page furniture, notes in small type and the list
 * of references. A paragraph may run over the end of a column or of a page.
 */
export function linesToParagraphs(lines: TextLine[]): Paragraph[] {
  const printed = withoutPageFurniture(lines);
  const parts = toParts(printed, createWordJoiner(printed.map((line) => line.text)));
  const running = parts.filter(({ kind }) => kind === 'text' || kind === 'caption');
  const others = parts.filter(({ kind }) => kind === 'line' || kind === 'row');
  const isProse = lengthOf(running) > Math.min(MIN_PROSE, lengthOf(others) / 2);
  const given = isProse ? running : parts;
  return given.map(({ kind, page, text }) => ({
    kind: kind === 'text' || kind === 'caption' ? 'text' : 'fragment',
    page,
    text,
  }));
}

/** In characters: with less, and with twice as much beside it, a document is taken for a form or for slides. */
const MIN_PROSE = 1_000;

function lengthOf(parts: { text: string }[]): number {
  return parts.reduce((sum, { text }) => sum + text.length, 0);
}
