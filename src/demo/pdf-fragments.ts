import type { getDocumentProxy } from 'unpdf';

/**
 * A piece of text as it is printed, set upright: `x` and `y` are where its baseline begins, in points from the lower
 * left, whichever way the text was turned on its page.
 */
export type Fragment = {
  text: string;
  x: number;
  y: number;
  width: number;
  /** The type size. */
  size: number;
  /** The font's name within this document. */
  font: string;
  isRightToLeft: boolean;
};

type PdfPage = Awaited<ReturnType<Awaited<ReturnType<typeof getDocumentProxy>>['getPage']>>;

/**
 * What stands on a page, one list for each way its text is turned; the one with most text is first. Text that
 * runs aslant beside it, such as a watermark, is left out.
 */
export async function readFragments(page: PdfPage): Promise<Fragment[][]> {
  const { items, styles } = await page.getTextContent();
  const printed = items.flatMap((item) => {
    if (!('str' in item) || item.str.trim() === '') return [];
    const fragment = toTurned(item, styles[item.fontName]?.vertical === true);
    return fragment && isOnPage(fragment, page.view) ? [fragment] : [];
  });
  const sheets = [...Map.groupBy(printed, (fragment) => fragment.direction)]
    .map(([direction, turned]) => ({ direction, fragments: withoutDoubles(turnUpright(turned)) }))
    .toSorted((a, b) => countLetters(b.fragments) - countLetters(a.fragments));
  const main = sheets[0]?.fragments ?? [];
  const others = sheets
    .slice(1)
    .flatMap((sheet) => (sheet.direction.startsWith(ASLANT) ? [] : [sheet.fragments]));
  const written = new Set(main.map((fragment) => fragment.text.trim()));
  const fields = (await readFormFields(page)).filter((field) => !written.has(field.text));
  return [[...main, ...fields], ...others];
}

export function countLetters(fragments: readonly { text: string }[]): number {
  return fragments.reduce((sum, { text }) => sum + (text.match(/\p{L}/gu)?.length ?? 0), 0);
}

type TextItem = {
  str: string;
  dir: string;
  transform: number[];
  width: number;
  height: number;
  fontName: string;
};
type Turned = Fragment & { direction: string; angle: number };

const ASLANT = 'aslant';
/** More than this from a right angle is meant so; less is a page that was laid crookedly on the scanner. */
const MAX_SKEW = Math.PI / 18;

function toTurned(item: TextItem, isVertical: boolean): Turned | undefined {
  const [a = 0, b = 0, c = 0, d = 0, x = 0, y = 0] = item.transform;
  const size = Math.hypot(c, d);
  const angle = Math.atan2(b, a);
  const quarters = Math.round(angle / (Math.PI / 2));
  if (size === 0) return undefined;
  const isAslant = Math.abs(angle - quarters * (Math.PI / 2)) > MAX_SKEW;
  return {
    text: item.str.replaceAll(INVISIBLE, '').replaceAll(VERTICAL_FORMS, (form) => form.normalize('NFKC')),
    x,
    y,
    width: isVertical ? item.height : item.width,
    size,
    font: item.fontName,
    isRightToLeft: item.dir === 'rtl',
    direction: isVertical
      ? 'vertical'
      : isAslant
        ? `${ASLANT} ${angle.toFixed(1)}`
        : String((quarters + 4) % 4),
    // Vertical writing runs down, its lines from right to left: a quarter turn makes them run across.
    angle: isVertical ? -Math.PI / 2 : angle,
  };
}

/** Control characters and zero-width ones, which no reader of the page sees. The soft hyphen is one that is printed. */
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const INVISIBLE = /[\u0000-\u0008\u000e-\u001f\u200b\u2060\ufeff]/g;

/** Punctuation as it is turned for vertical writing. */
const VERTICAL_FORMS = /[\ufe10-\ufe19\ufe30-\ufe48]/g;

/** Printers' marks and hidden text lie beside the page. */
function isOnPage({ x, y }: Turned, [left = 0, bottom = 0, right = 0, top = 0]: number[]): boolean {
  return x >= left - 1 && x <= right + 1 && y >= bottom - 1 && y <= top + 1;
}

function turnUpright(turned: Turned[]): Fragment[] {
  const letters = turned.reduce((sum, { text }) => sum + text.length, 0);
  // Two angles on either side of half a turn are close together, but their mean is not.
  const first = turned[0]?.angle ?? 0;
  const angle =
    first +
    turned.reduce((sum, one) => sum + Math.sin(one.angle - first) * one.text.length, 0) /
      Math.max(1, letters);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return turned.map(({ x, y, text, width, size, font, isRightToLeft }) => ({
    text,
    x: x * cos + y * sin,
    y: y * cos - x * sin,
    width,
    size,
    font,
    isRightToLeft,
  }));
}

/** Bold is sometimes made by printing a text twice, a hair apart. */
function withoutDoubles(fragments: Fragment[]): Fragment[] {
  const printed = new Map<string, Fragment[]>();
  return fragments.filter((fragment) => {
    const same = printed.get(fragment.text) ?? [];
    const reach = fragment.size * 0.15;
    if (same.some(({ x, y }) => Math.abs(x - fragment.x) < reach && Math.abs(y - fragment.y) < reach))
      return false;
    same.push(fragment);
    printed.set(fragment.text, same);
    return true;
  });
}

/** What was filled into the fields of a form, or typed onto the page, stands in annotations and not in its text. */
async function readFormFields(page: PdfPage): Promise<Fragment[]> {
  const annotations = (await page.getAnnotations()) as Annotation[];
  return annotations.flatMap(({ subtype, rect, fieldType, fieldValue, contentsObj, hidden, password }) => {
    const isField = subtype === 'Widget' && (fieldType === 'Tx' || fieldType === 'Ch');
    if (hidden || password || !rect || !(isField || subtype === 'FreeText')) return [];
    const value = isField ? [fieldValue ?? []].flat().join(', ') : (contentsObj?.str ?? '');
    const lines = value.split(/\r\n?|\n/).map((line) => line.trim());
    const [left = 0, bottom = 0, right = 0, top = 0] = rect;
    const leading = (top - bottom) / lines.length;
    const size = Math.min(FIELD_SIZE, leading * 0.8);
    return lines.flatMap((text, index) =>
      text === ''
        ? []
        : [
            {
              text,
              x: left + 2,
              y: top - leading * (index + 0.5) - size * 0.35,
              width: Math.min(right - left - 2, text.length * size * 0.5),
              size,
              font: 'field',
              isRightToLeft: false,
            },
          ],
    );
  });
}

type Annotation = {
  subtype?: string;
  rect?: number[];
  fieldType?: string;
  fieldValue?: string | string[] | null;
  contentsObj?: { str?: string };
  hidden?: boolean;
  password?: boolean;
};

/** In points; a field's own size may be "automatic". */
const FIELD_SIZE = 10;
