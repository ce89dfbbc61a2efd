import { extractTextItems, getDocumentProxy, getMeta, type StructuredTextItem } from 'unpdf';
import { linesToParagraphs, mostCommonSize, type Paragraph, type TextLine } from './pdf-paragraphs.ts';
import { Refusal } from './refusal.ts';

export type PdfText = {
  /** What the document calls itself, or its largest line on page one. */
  title: string | undefined;
  pages: number;
  paragraphs: Paragraph[];
};

export const MAX_PAGES = 100;

/** Reads a PDF's text in reading order. Refuses what is no PDF, locked, too long, or only pictures of text. */
export async function readPdfText(bytes: Uint8Array): Promise<PdfText> {
  if (!startsLikePdf(bytes)) throw new Refusal(422, 'The document is not a PDF.');
  const document = await open(bytes);
  try {
    const pages = document.numPages;
    if (pages > MAX_PAGES) {
      throw new Refusal(422, `The PDF has ${pages} pages; at most ${MAX_PAGES} can be summarised.`);
    }
    const { items } = await extractTextItems(document);
    const lines = items.flatMap((page, index) => toLines(page, index + 1));
    if (countLetters(lines) < MIN_LETTERS) {
      throw new Refusal(422, 'The PDF contains no text; it is probably scanned and needs OCR first.');
    }
    const { info } = await getMeta(document);
    return {
      title: statedTitle(info['Title']) ?? largestLine(lines),
      pages,
      paragraphs: linesToParagraphs(lines),
    };
  } catch (error) {
    throw error instanceof Refusal ? error : damaged(error);
  } finally {
    await document.loadingTask.destroy();
  }
}

const MIN_LETTERS = 40;

/** The header may be preceded by up to 1,024 bytes of something else (ISO 32000-1, annex H.3). */
function startsLikePdf(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 1024)).includes('%PDF-');
}

async function open(bytes: Uint8Array) {
  try {
    // `verbosity: 0`: pdf.js would otherwise warn about every oddity on our terminal.
    return await getDocumentProxy(bytes, { verbosity: 0 });
  } catch (error) {
    if (error instanceof Error && error.name === 'PasswordException') {
      throw new Refusal(422, 'The PDF is encrypted and needs a password.', { cause: error });
    }
    throw damaged(error);
  }
}

function damaged(cause: unknown): Refusal {
  return new Refusal(422, 'The PDF is damaged and cannot be read.', { cause });
}

/** Items arrive in the order they are drawn, which keeps columns apart; an end of line is marked on them. */
function toLines(items: StructuredTextItem[], page: number): TextLine[] {
  const lines: TextLine[] = [];
  let current: StructuredTextItem[] = [];
  const finish = () => {
    const text = current
      .map((item) => item.str)
      .join('')
      .replaceAll('\u00ad', '')
      .replace(/\s+/g, ' ')
      .trim();
    const first = current.find((item) => item.str.trim() !== '');
    if (first && text !== '') {
      lines.push({ text, page, x: first.x, y: first.y, size: Math.round(first.fontSize * 2) / 2 });
    }
    current = [];
  };
  for (const item of items) {
    current.push(item);
    if (item.hasEOL) finish();
  }
  finish();
  return lines;
}

function countLetters(lines: TextLine[]): number {
  return lines.reduce((sum, line) => sum + (line.text.match(/\p{L}/gu)?.length ?? 0), 0);
}

/** Many programs write their own name or the file's name into the title. */
function statedTitle(title: unknown): string | undefined {
  if (typeof title !== 'string') return undefined;
  const text = title.replace(/\s+/g, ' ').trim();
  const isJunk =
    text.length < 3 || /^(untitled|microsoft |document\d*$)|\.(docx?|pdf|tex|indd|pptx?|odt)$/i.test(text);
  return isJunk ? undefined : text.slice(0, 300);
}

function largestLine(lines: TextLine[]): string | undefined {
  const firstPage = lines.filter((line) => line.page === 1);
  const largest = Math.max(...firstPage.map((line) => line.size));
  const start = firstPage.findIndex((line) => line.size === largest);
  const rest = firstPage.slice(start);
  const end = rest.findIndex((line) => line.size !== largest);
  // When the text itself is the largest, no line is a title.
  if (start === -1 || end === -1 || largest <= mostCommonSize(lines) * 1.12) return undefined;
  return rest
    .slice(0, end)
    .map((line) => line.text)
    .join(' ')
    .slice(0, 300);
}
