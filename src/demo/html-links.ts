import { parseHtml, type DomDocument, type DomElement } from './html-document.ts';

/** Makes links and images absolute where the page's address is known, and takes away those that nobody should follow. */
export function resolveLinks(document: DomDocument, pageUrl: string | undefined): void {
  const base = baseOf(document, pageUrl);
  for (const link of document.querySelectorAll('a')) {
    const target = resolve(link.getAttribute('href'), base, LINKED);
    if (target === undefined) link.removeAttribute('href');
    else link.setAttribute('href', target);
  }
  for (const image of document.querySelectorAll('img')) {
    const source = sourcesOf(image).map((candidate) => resolve(candidate, base, LOADED));
    const usable = source.find((target) => target !== undefined);
    if (usable === undefined) image.remove();
    else image.setAttribute('src', usable);
  }
}

/** What the HTML standard lets a page register a handler for, and the web itself. Everything else may run code. */
const LINKED = new Set(
  (
    'http: https: bitcoin: ftp: ftps: geo: im: irc: ircs: magnet: mailto: matrix: mms: news: nntp: openpgp4fpr: sftp: ' +
    'sip: sms: smsto: ssh: tel: urn: webcal: wtai: xmpp:'
  ).split(' '),
);
const LOADED = new Set(['http:', 'https:']);

/** The first `base` counts, and only one that leads to the web (HTML standard, "set the frozen base URL"). */
function baseOf(document: DomDocument, pageUrl: string | undefined): string | undefined {
  const declared = document.querySelector('base[href]')?.getAttribute('href') ?? '';
  const url = URL.parse(declared, pageUrl);
  return url !== null && LOADED.has(url.protocol) ? url.href : pageUrl;
}

/** The target as it should be written, or undefined where it must not be. */
function resolve(
  target: string | null | undefined,
  base: string | undefined,
  schemes: ReadonlySet<string>,
): string | undefined {
  // As the URL standard's parser does, whatever the base.
  const written = (target ?? '').replace(/[\t\n\r]/g, '').replace(/^[\0-\x20]+|[\0-\x20]+$/g, '');
  if (written === '' || /[\ufdd0-\ufdef]/.test(written)) return undefined;
  const url = URL.parse(written, base ?? NOWHERE);
  if (url === null || !schemes.has(url.protocol) || SCRIPT.test(readAgain(written))) return undefined;
  // A link within the page stays one, and so does a relative one of a page without an address.
  const isKept = written.startsWith('#') || base === undefined;
  return (isKept ? written : url.href).replace(/[\0-\x20\x7f]/g, encodeURIComponent);
}

const NOWHERE = 'https://relative.invalid/';

/**
 * The target with character references and percent signs undone once more. Markdown undoes references in its
 * targets, so `javascript&colon;` is harmless in HTML and would run in a page that is made of the Markdown.
 */
function readAgain(target: string): string {
  if (!/[&%]/.test(target)) return target;
  const start = target.slice(0, MAX_SPELLED_SCHEME).replace(/%([0-7][\da-f])/gi, (_, hex: string) => {
    return String.fromCharCode(Number.parseInt(hex, 16));
  });
  return parseHtml(`<p>${start.replaceAll('<', '')}`).body.textContent ?? '';
}

/** Long enough for a scheme with every character spelled as a reference. */
const MAX_SPELLED_SCHEME = 1_000;

const SCRIPT =
  /^[\0-\x20]*(?:j\s*a\s*v\s*a|v\s*b|l\s*i\s*v\s*e)\s*s\s*c\s*r\s*i\s*p\s*t\s*:|^[\0-\x20]*d\s*a\s*t\s*a\s*:/i;

/** Where a picture may come from, best first. Pages that load pictures late keep the address elsewhere. */
function sourcesOf(image: DomElement): (string | null | undefined)[] {
  const source = image.parentNode?.nodeName === 'PICTURE' ? image.parentNode.querySelector('source') : null;
  const attributes = (...names: string[]) => names.map((name) => image.getAttribute(name));
  return [
    ...attributes('src', 'data-src', 'data-original', 'data-lazy-src'),
    ...attributes('srcset', 'data-srcset').map(largestOf),
    largestOf(source?.getAttribute('srcset') ?? null),
  ];
}

function largestOf(srcset: string | null): string | undefined {
  let largest: { url: string | undefined; size: number } | undefined;
  for (const [, url, number] of (srcset ?? '').matchAll(/([^\s,]\S*[^\s,]|[^\s,])(?:\s+([\d.]+)[wx])?/g)) {
    const size = Number(number ?? 1);
    if (!largest || size > largest.size) largest = { url, size };
  }
  return largest?.url;
}
