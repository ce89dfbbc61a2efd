import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { getDocumentProxy } from 'unpdf';
import { toBlocks } from './pdf-columns.ts';
import { countLetters, readFragments, type Fragment } from './pdf-fragments.ts';
import { withoutPageFurniture } from './pdf-furniture.ts';
import { blockToLines, type TextLine } from './pdf-lines.ts';
import { linesToParagraphs, type Paragraph } from './pdf-paragraphs.ts';
import { hasFullPagePicture } from './pdf-pictures.ts';
import { findTitle } from './pdf-title.ts';
import { Refusal } from './refusal.ts';

export type PdfText = {
  /** What the document calls itself, or its largest line on page one. */
  title: string | undefined;
  pages: number;
  paragraphs: Paragraph[];
};

export const MAX_PAGES = 100;

/** Reads a PDF's text in reading order. Refuses what is no PDF, locked, cut off, too long, or only pictures of text. */
export async function readPdfText(bytes: Uint8Array): Promise<PdfText> {
  refuseWhatIsNoPdf(bytes);
  const document = await open(bytes);
  try {
    const pages = document.numPages;
    if (pages > MAX_PAGES) {
      throw new Refusal(422, `The PDF has ${pages} pages; at most ${MAX_PAGES} can be summarised.`);
    }
    const lines = await readLines(document);
    await refuseScan(document, lines);
    const { info, metadata } = await document.getMetadata();
    return {
      title: findTitle([(info as { Title?: unknown }).Title, metadata?.get('dc:title')], lines),
      pages,
      paragraphs: linesToParagraphs(lines),
    };
  } catch (error) {
    throw error instanceof Refusal ? error : damaged(error);
  } finally {
    await document.loadingTask.destroy();
  }
}

type PdfDocument = Awaited<ReturnType<typeof getDocumentProxy>>;

function refuseWhatIsNoPdf(bytes: Uint8Array): void {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (file.length === 0) throw new Refusal(422, 'The document is empty: the address answered with no bytes.');
  // The header may be preceded by up to 1,024 bytes of something else (ISO 32000-1, annex H.3).
  if (!file.subarray(0, 1024).includes('%PDF-')) throw new Refusal(422, 'The document is not a PDF.');
  // A summary of the first half must not be sold as one of the whole; pdf.js would read what there is.
  const lastObject = file.lastIndexOf('endobj');
  if (Math.max(file.lastIndexOf('%%EOF'), file.lastIndexOf('startxref')) < lastObject) {
    throw new Refusal(422, 'The PDF is damaged: its end is missing. Upload or export it again.');
  }
}

/** The character maps of Chinese, Japanese and Korean fonts and the metrics of standard ones; pdf.js wants paths. */
const PDFJS_DATA = dirname(fileURLToPath(import.meta.resolve('pdfjs-dist/package.json')));

async function open(bytes: Uint8Array): Promise<PdfDocument> {
  try {
    return await getDocumentProxy(bytes, {
      // pdf.js would otherwise warn about every oddity on our terminal.
      verbosity: 0,
      cMapUrl: `${PDFJS_DATA}/cmaps/`,
      cMapPacked: true,
      standardFontDataUrl: `${PDFJS_DATA}/standard_fonts/`,
    });
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

async function readLines(document: PdfDocument): Promise<TextLine[]> {
  const sheets: { page: number; fragments: Fragment[] }[] = [];
  for (let page = 1; page <= document.numPages; page += 1) {
    const proxy = await document.getPage(page);
    for (const fragments of await readFragments(proxy)) sheets.push({ page, fragments });
    proxy.cleanup();
  }
  let block = 0;
  return sheets.flatMap(({ page, fragments }) =>
    toBlocks(fragments, usualSize(fragments)).flatMap((one) => blockToLines(one, page, (block += 1))),
  );
}

function usualSize(fragments: Fragment[]): number {
  const letters = new Map<number, number>();
  for (const { size, text } of fragments) {
    const rounded = Math.round(size * 2) / 2;
    letters.set(rounded, (letters.get(rounded) ?? 0) + text.length);
  }
  return [...letters].reduce((best, entry) => (entry[1] > best[1] ? entry : best), [0, 0])[0];
}

/** A scan may carry a stamp or page numbers as text, so few letters on a picture are none. A short form is only short. */
async function refuseScan(document: PdfDocument, lines: TextLine[]): Promise<void> {
  const letters = countLetters(withoutPageFurniture(lines));
  if (letters >= MIN_LETTERS_ON_PICTURE) return;
  if (letters === 0 || (await hasFullPagePicture(document))) {
    throw new Refusal(422, 'The PDF contains no text; it is probably scanned and needs OCR first.');
  }
}

const MIN_LETTERS_ON_PICTURE = 40;
