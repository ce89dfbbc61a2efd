/**
 * Typesets plain text as a PDF 1.4 file (ISO 32000-1): A4 pages, Helvetica, a running page number. Lines that
 * begin with `# ` and `## ` are the title and the headings; every other line is one paragraph. Only ASCII is
 * written, so no font has to be embedded.
 */
export function typesetPdf(text: string): Uint8Array<ArrayBuffer> {
  const lines = layOut(text);
  const pages = paginate(lines);
  const title = lines.find((line) => line.font === 'bold')?.text ?? '';

  // Object numbers: 1 catalogue, 2 page tree, 3 and 4 fonts, 5 document information, then two for each page.
  const pageNumber = (index: number) => 6 + index * 2;
  const objects = [
    '<< /Type /Catalog /Pages 2 0 R >>',
    `<< /Type /Pages /Count ${pages.length} /Kids [${pages.map((_, index) => `${pageNumber(index)} 0 R`).join(' ')}] >>`,
    '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>',
    '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold >>',
    `<< /Title (${escape(title)}) >>`,
  ];
  pages.forEach((page, index) => {
    const content = [...page, footer(index + 1, pages.length)].map(drawLine).join('\n');
    objects.push(
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 ${PAGE_WIDTH} ${PAGE_HEIGHT}] ` +
        `/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> /Contents ${pageNumber(index) + 1} 0 R >>`,
      `<< /Length ${content.length} >>\nstream\n${content}\nendstream`,
    );
  });
  return writeFile(objects);
}

type Line = { text: string; font: 'regular' | 'bold'; size: number; spaceBefore: number };
type PlacedLine = Line & { x: number; y: number };

// Points, 72 to the inch.
const PAGE_WIDTH = 595;
const PAGE_HEIGHT = 842;
const MARGIN = 72;
const LEADING = 1.45;

const STYLES = {
  title: { font: 'bold', size: 20, spaceBefore: 0 },
  heading: { font: 'bold', size: 14, spaceBefore: 14 },
  paragraph: { font: 'regular', size: 12, spaceBefore: 9 },
} as const;

/** Advance widths of Helvetica for the characters 32 to 126, in thousandths of the size (Adobe's font metrics). */
// prettier-ignore
const WIDTHS = [
  278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
  556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833,
  722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556,
  556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334,
  260, 334, 584,
];

function layOut(text: string): Line[] {
  return text
    .split('\n')
    .filter((source) => source.trim() !== '')
    .flatMap((source) => {
      const style = source.startsWith('# ')
        ? STYLES.title
        : source.startsWith('## ')
          ? STYLES.heading
          : STYLES.paragraph;
      return wrap(source.replace(/^#+ /, ''), style.size).map((line, index) => ({
        text: line,
        ...style,
        spaceBefore: index === 0 ? style.spaceBefore : 0,
      }));
    });
}

function wrap(paragraph: string, size: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of paragraph.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && widthOf(longer, size) > PAGE_WIDTH - 2 * MARGIN) {
      lines.push(line);
      line = word;
    } else {
      line = longer;
    }
  }
  return [...lines, line];
}

function widthOf(text: string, size: number): number {
  let thousandths = 0;
  for (let index = 0; index < text.length; index += 1) {
    thousandths += WIDTHS[text.charCodeAt(index) - 32] ?? 556;
  }
  return (thousandths * size) / 1000;
}

function paginate(lines: Line[]): PlacedLine[][] {
  const pages: PlacedLine[][] = [[]];
  let y = PAGE_HEIGHT - MARGIN;
  for (const line of lines) {
    y -= line.spaceBefore + line.size * LEADING;
    if (y < MARGIN) {
      pages.push([]);
      y = PAGE_HEIGHT - MARGIN - line.size * LEADING;
    }
    pages.at(-1)?.push({ ...line, x: MARGIN, y: Math.round(y * 100) / 100 });
  }
  return pages;
}

function footer(page: number, pages: number): PlacedLine {
  return {
    text: `Page ${page} of ${pages}`,
    font: 'regular',
    size: 9,
    spaceBefore: 0,
    x: MARGIN,
    y: MARGIN / 2,
  };
}

function drawLine({ text, font, size, x, y }: PlacedLine): string {
  return `BT /${font === 'bold' ? 'F2' : 'F1'} ${size} Tf ${x} ${y} Td (${escape(text)}) Tj ET`;
}

function escape(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').replace(/[\\()]/g, '\\$&');
}

/** The cross-reference table holds byte offsets; all text is ASCII, so a character is a byte. */
function writeFile(objects: string[]): Uint8Array<ArrayBuffer> {
  let file = '%PDF-1.4\n';
  const offsets = objects.map((object, index) => {
    const offset = file.length;
    file += `${index + 1} 0 obj\n${object}\nendobj\n`;
    return offset;
  });
  const startOfTable = file.length;
  file += `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n`;
  for (const offset of offsets) file += `${String(offset).padStart(10, '0')} 00000 n \n`;
  file += `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R /Info 5 0 R >>\nstartxref\n${startOfTable}\n%%EOF\n`;
  return new TextEncoder().encode(file);
}
