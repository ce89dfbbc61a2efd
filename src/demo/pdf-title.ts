import type { TextLine } from './pdf-lines.ts';
import { mostCommonSize } from './pdf-parts.ts';

const MAX_TITLE = 300;

/** What the document calls itself, in the first of `stated` that is one, or else its largest lines on page one. */
export function findTitle(stated: readonly unknown[], lines: TextLine[]): string | undefined {
  for (const title of stated) {
    const text = typeof title === 'string' ? clean(title) : '';
    if (!isJunk(text) && !isAsciiInDisguise(text, lines)) return text.slice(0, MAX_TITLE);
  }
  const largest = largestLines(lines);
  return largest === undefined || isJunk(largest) ? undefined : largest.slice(0, MAX_TITLE);
}

function clean(title: string): string {
  return title.replaceAll(UNPRINTED, '').replaceAll(/\s+/g, ' ').trim();
}

/** Byte order marks, zero-width characters and those that only end a string. */
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const UNPRINTED = /[\ufeff\ufffe\u200b-\u200f\u0000]/g;

/** Many programs write their own name, the file's name, or bytes that they did not understand, into the title. */
function isJunk(title: string): boolean {
  const letters = title.match(/[\p{L}\p{N}]/gu)?.length ?? 0;
  return (
    (title.length < 3 && !/\p{Script=Han}{2}/u.test(title)) ||
    letters < title.replaceAll(' ', '').length * 0.5 ||
    !/\p{L}/u.test(title) ||
    isMojibake(title) ||
    PLACEHOLDER.test(title) ||
    PROGRAM.test(title) ||
    IDENTIFIER.test(title) ||
    isFileName(title)
  );
}

/** UTF-8 or UTF-16 that was read as an 8-bit encoding, and text that was lost on the way. */
function isMojibake(title: string): boolean {
  return (
    // oxlint-disable-next-line no-control-regex -- the bytes of UTF-16 leave them behind
    /[\u0001-\u0008\u000e-\u001f\u007f-\u009f\ufffd\ue000-\uf8ff]/.test(title) ||
    /^(þÿ|ÿþ|ï»¿)|\\\d{3}|\?{3,}/.test(title) ||
    MISREAD.test(title)
  );
}

/** The first byte of a longer sequence of UTF-8 and one that may follow, as Latin-1, Windows and PDF have them. */
const MISREAD =
  /[ÂÃ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ⁄−ﬁﬂŁıł]|â[\u0080-\u009f€•]|[ãåæçèéäïð][\u0080-\u00a9\u00ac-\u00ba\u00bc-\u00bf•†‡ƒ⁄‰ﬁﬂŁŒŸŽıł€]/;

/** ASCII that was read as UTF-16 looks Chinese, but the document is not. */
function isAsciiInDisguise(title: string, lines: TextLine[]): boolean {
  const units = Array.from(title.replaceAll(' ', ''), (character) => character.charCodeAt(0));
  const isPrintable = (byte: number) => byte >= 0x20 && byte < 0x7f;
  return (
    /\p{Script=Han}/u.test(title) &&
    units.every((unit) => unit < 0x80 || (isPrintable(unit >> 8) && isPrintable(unit & 0xff))) &&
    !lines.some((line) => /\p{Script=Han}/u.test(line.text))
  );
}

const PLACEHOLDER =
  /^(<.*>|\(?(untitled|unnamed|unknown|undefined|null|none|no title|title|titel|titre|sans titre|unbenannt|ohne titel|sin título|new|blank|empty|temp|tmp|draft|test|document|dokument|presentation|präsentation|book|workbook|sheet|slide|page|seite|scan|scanned|scanned (document|image)|scannable document|image|img|fax|print|print job|file|template|about:blank|full page photo|default|contents|table of contents|index|inhalt|inhaltsverzeichnis)\)?([\s_-]*(document|title|page|presentation|report)?[\s_(-]*\d*\)?))$/i;
const PROGRAM =
  /^(microsoft|powerpoint presentation|ms word|openoffice|libreoffice|adobe|acrobat|latex|tex output|pdftex|pscript|quarkxpress|print to pdf|pdfcreator|camscanner|google docs|canva|layout \d|tabelle\s?\d|sheet\s?\d)/i;
/** Serial numbers of publishers, hashes, and dates. */
const IDENTIFIER = /^(pii:|doi:|10\.\d{4,}\/|urn:|isbn|\{?[\da-f]{8}-[\da-f]{4}-|[\da-f]{16,}$)|\d\.\.\d/i;

const EXTENSION =
  /\.(docx?|docm|dotx?|rtf|odt|ott|pages|wpd|wps|tex|dvi|e?ps|ai|indd|indb|qxp|qxd|p65|fm|book|pptx?|ppsx?|odp|key|xlsx?|xlsm|csv|ods|numbers|html?|xml|xhtml|aspx?|php|jsp|md|txt|pdf|pub|vsdx?|dwg|cdr|psd|jpe?g|png|gif|tiff?|bmp|svg|zip|dll|exe)$/i;

function isFileName(title: string): boolean {
  if (EXTENSION.test(title) || /^([a-z]:[\\/]|\\\\|~?\/|file:|https?:)/i.test(title)) return true;
  if (/\s/.test(title)) return false;
  const joints = title.match(/[_-]/g)?.length ?? 0;
  return title.includes('_') || joints > 2 || (joints > 0 && /\d{3,}/.test(title) && /[a-z]/.test(title));
}

function largestLines(lines: TextLine[]): string | undefined {
  const firstPage = lines.filter((line) => line.page === 1);
  const largest = Math.max(
    ...firstPage.filter((line) => /\p{L}{2}/u.test(line.text)).map((line) => line.size),
  );
  const start = firstPage.findIndex((line) => line.size === largest && /\p{L}{2}/u.test(line.text));
  const rest = firstPage.slice(start);
  const end = rest.findIndex((line) => line.size !== largest);
  // When the text itself is the largest, no line is a title.
  if (start === -1 || end === -1 || largest <= mostCommonSize(lines) * 1.12) return undefined;
  return rest
    .slice(0, end)
    .map((line) => (line.dropCap ?? '') + line.text)
    .join(' ');
}
