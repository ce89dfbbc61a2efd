import type { DomDocument, DomElement, DomNode } from './html-document.ts';
import { childNodesOf, hasAncestor, isBlock, isElement, isText, unwrap } from './html-tree.ts';

/**
 * Removes what a browser would not show: elements that never are, those with `hidden`, and those hidden by a
 * style of their own. Style sheets are not read. `body` itself counts as shown: pages hide it until their
 * scripts have run.
 */
export function removeInvisible(document: DomDocument): void {
  for (const element of document.querySelectorAll(NEVER_SHOWN)) element.remove();
  for (const button of document.querySelectorAll('button')) {
    // A heading that folds, or a column that sorts, is often a button all over.
    if (hasAncestor(button, LABELLING)) unwrap(button);
    else button.remove();
  }
  prune(document.body, true);
}

const NEVER_SHOWN =
  'script, style, noscript, noframes, template, iframe, object, embed, svg, canvas, audio, video, ' +
  'datalist, select, textarea, progress, meter, annotation, annotation-xml, body title, dialog:not([open])';

const LABELLING = new Set('H1 H2 H3 H4 H5 H6 SUMMARY DT TH TD'.split(' '));

function prune(parent: DomElement, isVisible: boolean): void {
  for (const child of childNodesOf(parent)) {
    if (isText(child)) keepText(child, isVisible);
    else if (!isElement(child)) child.remove();
    else pruneElement(child, isVisible);
  }
}

// Noncharacters stand for breaks and code while the Markdown is put together; no text needs them.
function keepText(text: DomNode & { data: string }, isVisible: boolean): void {
  if (!isVisible) text.remove();
  else if (/[\ufdd0-\ufdef]/.test(text.data)) text.data = text.data.replace(/[\ufdd0-\ufdef]/g, '\ufffd');
}

function pruneElement(element: DomElement, isParentVisible: boolean): void {
  const { display, visibility, contentVisibility } = displayOf(element);
  const isHidden = element.hasAttribute('hidden') && !isSearchable(element) && display === undefined;
  if (isHidden || display === 'none') return element.remove();

  // Unlike `display`, `visibility` is inherited and can be taken back by a descendant.
  const isVisible = visibility === undefined ? isParentVisible : visibility === 'visible';
  if (visibility === 'collapse' && element.nodeName === 'TR') return element.remove();
  if (!isVisible && (element.nodeName === 'IMG' || element.nodeName === 'INPUT')) return element.remove();
  if (contentVisibility === 'hidden') for (const child of childNodesOf(element)) child.remove();
  prune(element, isVisible);

  if (display !== undefined && OWN_LINE.test(display) && !isBlock(element)) standAlone(element);
}

/** The browser shows it as soon as the reader searches for its words. */
function isSearchable(element: DomElement): boolean {
  return element.getAttribute('hidden')?.toLowerCase() === 'until-found';
}

const OWN_LINE = /^(?:block|flex|grid|flow-root|list-item|table)/;

/** An inline element that is displayed as a block becomes the only child of one. */
function standAlone(element: DomElement): void {
  const block = element.ownerDocument.createElement('div');
  element.replaceWith(block);
  block.appendChild(element);
}

type Display = { [property in 'display' | 'visibility' | 'contentVisibility']?: string | undefined };

function displayOf(element: DomElement): Display {
  const style = element.getAttribute('style');
  if (style === null || style === '') return {};
  return {
    display: valueOf(style, 'display', DISPLAYS),
    visibility: valueOf(style, 'visibility', /^(?:visible|hidden|collapse)$/),
    contentVisibility: valueOf(style, 'content-visibility', /^(?:visible|auto|hidden)$/),
  };
}

const DISPLAYS =
  /^(?:none|contents|(?:block|inline|run-in)(?: .+)?|(?:inline-)?(?:block|flex|grid|table)|flow-root|flow|list-item|table-[a-z-]+|ruby[a-z-]*)$/;

/** What a style attribute says of a property: the last valid value, and an important one before the others. */
function valueOf(style: string, property: string, valid: RegExp): string | undefined {
  let value: string | undefined;
  let isImportant = false;
  for (const declaration of declarationsOf(style)) {
    if (declaration.property !== property || !valid.test(declaration.value)) continue;
    if (isImportant && !declaration.isImportant) continue;
    ({ value, isImportant } = declaration);
  }
  return value;
}

/** Semicolons in strings and brackets separate nothing; comments and escapes are undone (CSS Syntax Level 3). */
function declarationsOf(style: string): { property: string; value: string; isImportant: boolean }[] {
  const plain = style.replace(/\/\*[\s\S]*?(?:\*\/|$)/g, ' ');
  const parts =
    plain.match(/(?:\\[\s\S]|"(?:\\[\s\S]|[^"\\])*"|'(?:\\[\s\S]|[^'\\])*'|\([^()]*\)|[^;])+/g) ?? [];
  return parts.flatMap((part) => {
    const colon = part.indexOf(':');
    if (colon < 0) return [];
    const value = unescapeCss(part.slice(colon + 1))
      .trim()
      .toLowerCase();
    return {
      property: unescapeCss(part.slice(0, colon)).trim().toLowerCase(),
      value: value.replace(IMPORTANT, '').trimEnd().replace(/\s+/g, ' '),
      isImportant: IMPORTANT.test(value),
    };
  });
}

const IMPORTANT = /!\s*important$/;

function unescapeCss(text: string): string {
  return text.replace(/\\(?:([\da-f]{1,6})\s?|([^\n]))/gi, (_, hex?: string, character?: string) => {
    if (hex === undefined) return character ?? '';
    const code = Number.parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : '\ufffd';
  });
}
