import type { Block } from './pdf-columns.ts';
import { countLetters, type Fragment } from './pdf-fragments.ts';
import { toRows, type Row } from './pdf-rows.ts';

/** One line as it is printed: where it begins and ends, in points from the lower left corner, and its type. */
export type TextLine = {
  text: string;
  /** A large first letter that belongs before the text. */
  dropCap?: string;
  page: number;
  /** Lines of the same column, or of the same part of a page, have the same number. */
  block: number;
  /** A row of a table: its words are no running text. */
  isTableRow: boolean;
  x: number;
  right: number;
  y: number;
  /** Size and font of most of its letters. */
  size: number;
  font: string;
};

/** The mark every item of a list begins with, whatever glyph of whatever font is printed there. */
export const BULLET = '•';

/** The lines of one block from top to bottom. */
export function blockToLines({ kind, fragments }: Block, page: number, block: number): TextLine[] {
  const lines = toRows(fragments).flatMap((row): TextLine[] => {
    const text = rowToText(row);
    const main = dominant(row.fragments);
    if (text === '' || !main) return [];
    return [
      {
        text,
        page,
        block,
        isTableRow: kind === 'table',
        x: row.fragments[0]!.x,
        right: Math.max(...row.fragments.map(({ x, width }) => x + width)),
        y: main.y,
        size: Math.round(main.size * 2) / 2,
        font: main.font,
      },
    ];
  });
  return withDropCaps(lines);
}

/** The fragment whose type and size most of the letters have. */
function dominant(fragments: Fragment[]): Fragment | undefined {
  const letters = new Map<string, { count: number; fragment: Fragment }>();
  for (const fragment of fragments) {
    const key = `${fragment.font} ${Math.round(fragment.size * 2)}`;
    const known = letters.get(key) ?? { count: 0, fragment };
    known.count += fragment.text.trim().length + countLetters([fragment]);
    letters.set(key, known);
  }
  return [...letters.values()].reduce<{ count: number; fragment: Fragment } | undefined>(
    (best, one) => (best && best.count >= one.count ? best : one),
    undefined,
  )?.fragment;
}

function rowToText(row: Row): string {
  const main = dominant(row.fragments)!;
  const ordered = inReadingOrder(row.fragments);
  let text = '';
  ordered.forEach((fragment, index) => {
    const previous = ordered[index - 1];
    const next = ordered[index + 1];
    if (previous && hasSpaceBetween(previous, fragment)) text += ' ';
    if (index === 0 && next && isListGlyph(fragment, next)) text += `${BULLET} `;
    else if (isRaised(fragment, main)) text += raised(fragment.text, text);
    else text += fragment.text;
  });
  return text
    .replaceAll(/\u00ad(?!\s*$)/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
}

function inReadingOrder(fragments: Fragment[]): Fragment[] {
  const rtl = fragments.filter((fragment) => fragment.isRightToLeft);
  return countLetters(rtl) * 2 > countLetters(fragments) ? fragments.toReversed() : fragments;
}

/** In ems: narrower white is kerning. */
const MIN_SPACE = 0.12;

function hasSpaceBetween(previous: Fragment, next: Fragment): boolean {
  const [left, right] = previous.x <= next.x ? [previous, next] : [next, previous];
  return right.x - left.x - left.width > MIN_SPACE * Math.min(left.size, right.size);
}

/**
 * Word processors print the marks of lists in fonts of symbols, where any character may stand for a bullet, and
 * often in a smaller size than the text.
 */
function isListGlyph(first: Fragment, next: Fragment): boolean {
  const glyph = first.text.trim();
  if (/^[\p{Co}•▪‣◦●○■□◆◇❖❑❒❏➢➤►▶✓✔✗✦★☐☑⁃∙·§¤]$/u.test(glyph)) return true;
  const gap = next.x - first.x - first.width;
  return (
    /^[^\p{N}\p{P}AIaiyàòÀÒ]$/u.test(glyph) &&
    first.font !== next.font &&
    gap > next.size * 0.5 &&
    !isCjk(glyph)
  );
}

function isCjk(text: string): boolean {
  return /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u.test(text);
}

function isRaised(fragment: Fragment, main: Fragment): boolean {
  return fragment.size <= main.size && fragment.y - main.y > main.size * 0.18;
}

/** A mark that points to a note is left out; an exponent keeps its meaning; "1st" is "1st". */
function raised(text: string, before: string): string {
  const mark = text.trim();
  const isNote = /(?:\p{L}{4,}|[.,;:!?)\]"”’»])$/u.test(before.trimEnd());
  if (/^[*†‡§¶‖#]+$/.test(mark) || (isNote && /^\[?(?:\d{1,3}|\p{Ll})([,–-]\s?\d{1,3})*\]?$/u.test(mark))) {
    return /\s$/.test(text) ? ' ' : '';
  }
  return text.replaceAll(/[\d+−-]/g, (character) => SUPERSCRIPTS[character] ?? character);
}

// prettier-ignore
const SUPERSCRIPTS: Record<string, string> = {
  0: '⁰', 1: '¹', 2: '²', 3: '³', 4: '⁴', 5: '⁵', 6: '⁶', 7: '⁷', 8: '⁸', 9: '⁹', '+': '⁺', '-': '⁻', '−': '⁻',
};

/** The large first letter of a chapter belongs before the uppermost of the lines that it stands beside. */
function withDropCaps(lines: TextLine[]): TextLine[] {
  const caps = lines.filter((line) => /^["“‘«]?\p{Lu}$/u.test(line.text));
  const taken = new Set<TextLine>();
  for (const cap of caps) {
    const beside = lines.filter(
      (line) =>
        line !== cap &&
        cap.size >= line.size * MIN_DROP_CAP &&
        line.x > cap.x &&
        line.x - cap.right < cap.size &&
        line.y > cap.y - line.size * 0.5 &&
        line.y < cap.y + cap.size,
    );
    const first = beside.reduce<TextLine | undefined>(
      (top, line) => (top && top.y > line.y ? top : line),
      undefined,
    );
    if (!first) continue;
    first.dropCap = cap.text;
    first.x = cap.x;
    for (const line of beside) line.x = cap.x;
    taken.add(cap);
  }
  return lines.filter((line) => !taken.has(line));
}

const MIN_DROP_CAP = 1.6;
