import { isAscii, isUtf8 } from 'node:buffer';
import { parseHtml } from './html-document.ts';

/** A page as it was downloaded, or as a text that needs no decoding. */
export type PageSource = string | { bytes: Uint8Array<ArrayBuffer>; contentType: string };

/** The page's markup for a parser of HTML. */
export function readPage(source: PageSource): string {
  if (typeof source === 'string') return source.replace(/^\ufeff/, '');
  const text = decode(source.bytes, source.contentType);
  return source.contentType.startsWith('application/xhtml+xml') ? asHtml(text) : text;
}

/**
 * Reads a page's bytes as browsers do (HTML standard, "determining the character encoding"): a byte order mark
 * before the header, the header before what the page says of itself. A page that is declared nowhere is UTF-8
 * where it can be, and else Windows-1252, which Latin-1 is read as on the web.
 */
function decode(bytes: Uint8Array<ArrayBuffer>, contentType: string): string {
  const encoding = markOf(bytes) ?? encodingOf(charsetIn(contentType)) ?? declaredIn(bytes) ?? guess(bytes);
  // The decoder takes the byte order mark away.
  return new TextDecoder(encoding).decode(bytes);
}

function charsetIn(contentType: string | null): string | undefined {
  return /charset\s*=\s*["']?\s*([^\s"';,]+)/i.exec(contentType ?? '')?.[1];
}

/** The encoding that the Encoding Standard knows by this label; another label says nothing. */
function encodingOf(label: string | undefined): string | undefined {
  try {
    return label === undefined ? undefined : new TextDecoder(label.trim()).encoding;
  } catch {
    return undefined;
  }
}

function markOf([first, second, third]: Uint8Array): string | undefined {
  if (first === 0xef && second === 0xbb && third === 0xbf) return 'utf-8';
  if (first === 0xfe && second === 0xff) return 'utf-16be';
  return first === 0xff && second === 0xfe ? 'utf-16le' : undefined;
}

/** The standard looks at the first kilobyte before it parses, and changes its mind for a later `meta`. */
const MAX_HEAD_BYTES = 64_000;

function declaredIn(bytes: Uint8Array): string | undefined {
  const head = new TextDecoder('latin1').decode(bytes.subarray(0, MAX_HEAD_BYTES));
  const declared = /^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([^"']+)/.exec(head)?.[1] ?? metaOf(head);
  const encoding = encodingOf(declared);
  // The declaration was read byte by byte, so it cannot be true of an encoding of two bytes a character.
  if (encoding?.startsWith('utf-16')) return 'utf-8';
  return encoding === 'x-user-defined' ? 'windows-1252' : encoding;
}

function metaOf(head: string): string | undefined {
  if (!/<meta/i.test(head)) return undefined;
  const labels = parseHtml(head)
    .querySelectorAll('meta')
    .map((meta) => {
      const isContentType = meta.getAttribute('http-equiv')?.trim().toLowerCase() === 'content-type';
      return (
        meta.getAttribute('charset') ?? (isContentType ? charsetIn(meta.getAttribute('content')) : undefined)
      );
    });
  return labels.find((label) => encodingOf(label) !== undefined);
}

function guess(bytes: Uint8Array): string {
  const wide = guessUtf16(bytes);
  if (wide !== undefined || isAscii(bytes) || isUtf8(bytes)) return wide ?? 'utf-8';
  // A page in UTF-8 may be cut or spoiled at a place; one in another encoding is hardly ever right by chance.
  const text = new TextDecoder().decode(bytes);
  const count = (characters: RegExp) => text.match(characters)?.length ?? 0;
  return count(/[^\0-\x7f\ufffd]/g) > MIN_RIGHT_PER_WRONG * count(/\ufffd/g) ? 'utf-8' : 'windows-1252';
}

const MIN_RIGHT_PER_WRONG = 10;

/** Markup is ASCII, so half of a page in UTF-16 is zeros, all of them at even or all at odd places. */
function guessUtf16(bytes: Uint8Array): string | undefined {
  const sample = bytes.subarray(0, 1024);
  const zeros = [0, 0];
  for (const [index, byte] of sample.entries()) if (byte === 0) zeros[index % 2]! += 1;
  const [even = 0, odd = 0] = zeros;
  const enough = sample.length / 8;
  if (odd > enough && even === 0) return 'utf-16le';
  return even > enough && odd === 0 ? 'utf-16be' : undefined;
}

/** XML has elements without an end tag and literal text that HTML does not know. */
function asHtml(xhtml: string): string {
  return xhtml
    .replace(/<!\[CDATA\[([\s\S]*?)\]\]>/g, (_, text: string) =>
      text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;'),
    )
    .replace(/<([a-z][\w:.-]*)((?:"[^"]*"|'[^']*'|[^<>"'])*)\/>/gi, (tag, name: string, rest: string) =>
      VOID.has(name.toLowerCase()) ? tag : `<${name}${rest}></${name}>`,
    );
}

const VOID = new Set('area base br col embed hr img input link meta param source track wbr'.split(' '));
