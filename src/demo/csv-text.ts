import { isUtf8 } from 'node:buffer';
import { Refusal } from './refusal.ts';

/** A table as it was downloaded, or as a text that needs no decoding. */
export type CsvSource = string | { bytes: Uint8Array<ArrayBuffer>; contentType: string };

export type CsvText = { text: string; delimiter: string | undefined; warnings: string[] };

/** Reads the characters of a table, and takes off the line by which spreadsheets name the delimiter (`sep=;`). */
export function readCsvText(source: CsvSource): CsvText {
  const { text: whole, warnings } =
    typeof source === 'string' ? { text: source, warnings: [] } : decode(source);
  const text = whole.replace(/^\ufeff/, '');
  refuseOtherForms(text);
  const named = /^sep=([^"\r\n])(?:\r\n|\n|\r)/i.exec(text);
  return { text: named ? text.slice(named[0].length) : text, delimiter: named?.[1], warnings };
}

/** A byte order mark, then what the server declares, then UTF-8 where it can be, and else what spreadsheets write. */
function decode({ bytes, contentType }: Exclude<CsvSource, string>): { text: string; warnings: string[] } {
  const known = markOf(bytes) ?? declaredIn(contentType) ?? wideOf(bytes);
  if (known !== undefined) return { text: new TextDecoder(known).decode(bytes), warnings: [] };
  if (isUtf8(bytes)) return { text: new TextDecoder().decode(bytes), warnings: [] };
  return {
    text: new TextDecoder('windows-1252').decode(bytes),
    warnings: ['The file names no character encoding and is not UTF-8; it was read as Windows-1252.'],
  };
}

function markOf([first, second, third]: Uint8Array): string | undefined {
  if (first === 0xef && second === 0xbb && third === 0xbf) return 'utf-8';
  if (first === 0xfe && second === 0xff) return 'utf-16be';
  return first === 0xff && second === 0xfe ? 'utf-16le' : undefined;
}

/** A label that the Encoding Standard does not know says nothing. */
function declaredIn(contentType: string): string | undefined {
  const label = /charset\s*=\s*["']?\s*([^\s"';,]+)/i.exec(contentType)?.[1];
  try {
    return label === undefined ? undefined : new TextDecoder(label).encoding;
  } catch {
    return undefined;
  }
}

const LOOKED_AT_BYTES = 1_000;

/** UTF-16 without a mark: every other byte of Western text is zero. */
function wideOf(bytes: Uint8Array): string | undefined {
  const head = bytes.subarray(0, LOOKED_AT_BYTES);
  let [even, odd] = [0, 0];
  for (const [index, byte] of head.entries()) {
    if (byte !== 0) continue;
    if (index % 2 === 0) even += 1;
    else odd += 1;
  }
  if (odd > head.length / 4 && even === 0) return 'utf-16le';
  return even > head.length / 4 && odd === 0 ? 'utf-16be' : undefined;
}

/** What is no table would be profiled as one, and paid for. */
function refuseOtherForms(text: string): void {
  if (/^\s*<(!doctype\s|html[\s>]|\?xml\s)/i.test(text))
    throw new Refusal(422, 'The document is HTML or XML, not CSV.');
  if (!/^\s*[[{]/.test(text)) return;
  try {
    JSON.parse(text);
  } catch {
    return;
  }
  throw new Refusal(422, 'The document is JSON, not CSV.');
}
