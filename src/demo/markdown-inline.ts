import type TurndownService from 'turndown';
import type { DomElement, DomNode } from './html-document.ts';
import { hasAncestor, isElement, isText } from './html-tree.ts';

/** Rules for what stands within a line. They expect the tree that `simplifyInline` leaves. */
export function addInlineRules(turndown: TurndownService, onLink: () => void): void {
  const rule = (tag: TurndownService.TagName, replacement: (content: string, node: DomElement) => string) => {
    turndown.addRule(String(tag), {
      filter: tag,
      replacement: (content, node) => replacement(content, node),
    });
  };
  rule('em', (content, node) => markText(content, node, isInWord(node) ? '*' : '_'));
  rule('strong', (content, node) => markText(content, node, '**'));
  rule('del', (content, node) => markText(content, node, '~~'));
  rule('sup', (content, node) => raise(content, node));
  rule('sub', (content, node) => lower(content, node));
  rule('img', (_, image) => formatImage(image));
  rule('br', (_, node) => (hasAncestor(node, HEADINGS) ? ' ' : `${BREAK}\n`));
  rule('a', (content, link) => {
    const label = content.trim() === '' ? nameOf(link) : content.trim().replace(/\n{2,}/g, '\n');
    if (label === '') return '';
    onLink();
    return `[${label}](${formatTarget(link, 'href')})`;
  });
  turndown.escape = escapeText;
}

/** Two spaces at the end of a line, kept from being tidied away. */
export const BREAK = '\ufdd0';
/** An exclamation mark before a link, which would make a picture of it. */
export const BANG = '\ufdd1';

/** Begins a text that begins a line. */
export const LINE_START = '\ufdd3';

const HEADINGS = new Set(['H1', 'H2', 'H3', 'H4', 'H5', 'H6']);

/** Characters that Markdown would take for marks get a backslash; those that cannot be marks where they stand do not. */
export function escapeText(text: string): string {
  if (/^[^\ufdd3\\*`[\]_<&~]*$/.test(text)) return text;
  return text
    .replace(/[\\*`[\]]/g, '\\$&')
    .replace(/_+/g, (run, at: number, all: string) => {
      const isInside =
        WORD.test(all.slice(Math.max(0, at - 2), at)) &&
        WORD_START.test(all.slice(at + run.length, at + run.length + 2));
      return isInside ? run : run.replaceAll('_', '\\_');
    })
    .replace(/<(?=[a-z/!?])|&(?=#?\w+;)/gi, '\\$&')
    .replace(/~/g, text.indexOf('~') === text.lastIndexOf('~') ? '~' : '\\~')
    .replace(/^\ufdd3(?=-(?:\s|-|$)|\+(?:\s|$)|#{1,6}(?:\s|$)|=+\s*$|>)/, '\\')
    .replace(/^\ufdd3(\d{1,9})(?=[.)](?:\s|$))/, '$1\\')
    .replaceAll(LINE_START, '');
}

const WORD = /[\p{L}\p{N}]$/u;
const WORD_START = /^[\p{L}\p{N}]/u;

/**
 * Marks count only where white space or punctuation lets them (CommonMark, "left-flanking" and "right-flanking");
 * elsewhere the element itself is written.
 */
function markText(content: string, node: DomElement, mark: string): string {
  const text = content.trim();
  if (text === '') return '';
  const opens = !PUNCTUATION_START.test(text) || !WORD.test(textBefore(node));
  const closes = !PUNCTUATION_END.test(text) || !WORD_START.test(textAfter(node));
  const name = node.nodeName.toLowerCase();
  return opens && closes ? `${mark}${text}${mark}` : `<${name}>${text}</${name}>`;
}

const PUNCTUATION_START = /^[\p{P}\p{S}]/u;
const PUNCTUATION_END = /[\p{P}\p{S}]$/u;

function isInWord(node: DomElement): boolean {
  return WORD.test(textBefore(node)) || WORD_START.test(textAfter(node));
}

/** A power: `10^23`, `e^(−x/2)`. What is small only by custom stays as it is: `1st`, `®`, the link of a footnote. */
function raise(content: string, node: DomElement): string {
  const text = content.trim();
  const isCustom =
    /^(?:\\?\[|[®™©℠*†‡§¶])/.test(text) ||
    (isElement(node.parentNode) && node.parentNode.nodeName === 'A') ||
    (/^(?:st|nd|rd|th)$/i.test(text) && /\d$/.test(textBefore(node)));
  return isCustom || text === '' ? text : `^${group(text, node)}`;
}

/** An index: `H_2O`, `x_(i+1)`. */
function lower(content: string, node: DomElement): string {
  const text = content.trim();
  if (text === '') return '';
  const grouped = group(text, node);
  // Between two characters of a word the sign is never a mark.
  const isPlain = WORD.test(textBefore(node)) && WORD_START.test(grouped);
  return `${isPlain ? '_' : '\\_'}${grouped}`;
}

/** Brackets where it would not be plain how far the small text reaches. */
function group(text: string, node: DomElement): string {
  const next = textAfter(node);
  const runsOn = /\p{L}$/u.test(text) ? WORD_START.test(next) : /^\p{N}/u.test(next);
  const isOne = /^(?:[+−-]?[\p{L}\p{N}]+(?:[.,]\p{N}+)?|[+−-])$/u.test(text);
  return isOne && !runsOn ? text : `(${text})`;
}

function formatImage(image: DomElement): string {
  const alt = escapeText(oneLine(image.getAttribute('alt')));
  return `![${alt}](${formatTarget(image, 'src')})`;
}

function formatTarget(element: DomElement, attribute: 'href' | 'src'): string {
  const target = (element.getAttribute(attribute) ?? '')
    .replace(/[<>()\\]/g, '\\$&')
    .replace(/&(?=#?\w+;)/g, '&amp;');
  const title = oneLine(element.getAttribute('title'))
    .replace(/["\\]/g, '\\$&')
    .replace(/&(?=#?\w+;)/g, '&amp;');
  return title === '' ? target : `${target} "${title}"`;
}

/** What a link with nothing but a drawing in it is called. */
function nameOf(link: DomElement): string {
  return escapeText(oneLine(link.getAttribute('aria-label')) || oneLine(link.getAttribute('title')));
}

function oneLine(text: string | null): string {
  return (text ?? '')
    .replace(/[\ufdd0-\ufdef]/g, '\ufffd')
    .replace(/\s+/g, ' ')
    .trim();
}

/** The text that will stand directly before an element. White space at its edge goes outside; a mark is punctuation. */
function textBefore(node: DomElement): string {
  return /^\s/.test(node.textContent ?? '') ? '' : adjacentText(node.previousSibling);
}

function textAfter(node: DomElement): string {
  return /\s$/.test(node.textContent ?? '') ? '' : adjacentText(node.nextSibling);
}

function adjacentText(node: DomNode | null): string {
  if (isText(node)) return node.data;
  // Small text is written without a mark at its end.
  return node?.nodeName === 'SUP' || node?.nodeName === 'SUB' ? (node.textContent ?? '') : '';
}
