import { getResolvedPDFJS, type getDocumentProxy } from 'unpdf';

type PdfDocument = Awaited<ReturnType<typeof getDocumentProxy>>;

/** Whether one of the first pages is a picture, as those of a scan are. A logo or a photograph is smaller. */
export async function hasFullPagePicture(document: PdfDocument): Promise<boolean> {
  for (let number = 1; number <= Math.min(document.numPages, MAX_PAGES_LOOKED_AT); number += 1) {
    const page = await document.getPage(number);
    const [left = 0, bottom = 0, right = 0, top = 0] = page.view;
    if ((await largestPicture(page)) > (right - left) * (top - bottom) * MIN_SHARE) return true;
  }
  return false;
}

/** To list what a page draws, its pictures are decoded, which is slow. */
const MAX_PAGES_LOOKED_AT = 2;
const MIN_SHARE = 0.4;

/** In square points; strips of one scan count together. */
async function largestPicture(page: Awaited<ReturnType<PdfDocument['getPage']>>): Promise<number> {
  const { OPS } = await getResolvedPDFJS();
  const { fnArray, argsArray } = await page.getOperatorList();
  const saved: number[] = [];
  // How much a unit square, which is what a picture fills, is enlarged.
  let scale = 1;
  let area = 0;
  fnArray.forEach((operator, index) => {
    const [first] = [argsArray[index] as unknown[] | null].map((args) => args ?? []);
    if (operator === OPS.save || operator === OPS.paintFormXObjectBegin) saved.push(scale);
    if (operator === OPS.restore || operator === OPS.paintFormXObjectEnd) scale = saved.pop() ?? 1;
    if (operator === OPS.transform) scale *= determinant(first);
    if (operator === OPS.paintFormXObjectBegin && first?.[0])
      scale *= determinant(Array.from(first[0] as number[]));
    if (PICTURES.some((name) => operator === OPS[name])) area += scale;
  });
  return area;
}

const PICTURES = ['paintImageXObject', 'paintInlineImageXObject', 'paintImageMaskXObject'] as const;

function determinant(matrix: unknown[] | undefined): number {
  const [a = 1, b = 0, c = 0, d = 1] = (matrix ?? []) as number[];
  return Math.abs(a * d - b * c);
}
