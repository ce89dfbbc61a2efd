import { readPdfText } from './pdf-text.ts';
import { splitWords } from './sentences.ts';
import { summarise } from './summarise.ts';
import { replyWith } from './worker-reply.ts';

export type PdfJob = { bytes: Uint8Array; fallbackTitle: string; maxBullets: number };

/** What the PDF summariser sells. */
export type PdfSummary = {
  title: string;
  pages: number;
  words: number;
  bullets: string[];
  /** For each bullet, the page its paragraph begins on. */
  bullet_pages: number[];
};

await replyWith(async ({ bytes, fallbackTitle, maxBullets }: PdfJob): Promise<PdfSummary> => {
  const text = await readPdfText(bytes);
  const title = text.title ?? fallbackTitle;
  const bullets = summarise(text.paragraphs, title, maxBullets);
  return {
    title,
    pages: text.pages,
    words: text.paragraphs.reduce((sum, paragraph) => sum + splitWords(paragraph.text).length, 0),
    bullets: bullets.map((bullet) => bullet.text),
    bullet_pages: bullets.map((bullet) => bullet.page),
  };
});
