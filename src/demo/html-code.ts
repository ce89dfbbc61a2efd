import type { DomDocument, DomElement, DomNode } from './html-document.ts';
import { childNodesOf, hasAncestor, isBlock, isElement, linesOf, rename, unwrap } from './html-tree.ts';

/**
 * Makes every block of code one `pre` of plain text with its language in `data-language`, and every piece of
 * code within a line one `code` of plain text: inside them, marks would be read as code.
 */
export function flattenCode(root: DomElement): void {
  for (const block of root.querySelectorAll('pre, xmp, listing, plaintext')) {
    if (!hasAncestor(block, PREFORMATTED)) flattenBlock(block);
  }
  for (const code of root.querySelectorAll('code, kbd, samp, tt')) {
    flattenInline(code.nodeName === 'CODE' ? code : rename(code, 'code'));
  }
}

const PREFORMATTED = new Set(['PRE', 'XMP', 'LISTING', 'PLAINTEXT']);

function flattenBlock(block: DomElement): void {
  const flat = block.ownerDocument.createElement('pre');
  flat.textContent = linesOf(block).replace(/\r\n?/g, '\n').replace(/\n$/, '');
  flat.setAttribute('data-language', languageOf(block));
  block.replaceWith(flat);
}

/** The language that highlighters name on the block, the code in it, or an element around this block alone. */
function languageOf(block: DomElement): string {
  const named = [block, block.querySelector('code')].map((element) => {
    if (!element) return undefined;
    const classes = element.getAttribute('class') ?? '';
    return (
      PREFIXED.exec(classes)?.[1] ??
      element.getAttribute('data-language') ??
      element.getAttribute('data-lang') ??
      /(?:^|\s)(?:hljs|sourceCode)\s+([\w+#.-]+)/.exec(classes)?.[1]
    );
  });
  const language = named[0] ?? named[1] ?? languageAround(block) ?? '';
  return /^[\w+#.-]+$/.test(language) && !/^(?:none|nohighlight)$/i.test(language) ? language : '';
}

const PREFIXED = /(?:^|\s)(?:(?:language|lang|highlight-source|highlight-text)-|brush:\s*)([\w+#.-]+)/i;

function languageAround(block: DomElement): string | undefined {
  let around: DomElement | null = block.parentNode;
  for (let level = 0; isElement(around) && level < 3; level += 1) {
    const language = PREFIXED.exec(around.getAttribute('class') ?? '')?.[1];
    if (language !== undefined) return around.querySelectorAll('pre').length === 1 ? language : undefined;
    around = around.parentNode;
  }
  return undefined;
}

/** Code with links in it becomes links with code in them, and code of several lines becomes several pieces. */
function flattenInline(code: DomElement): void {
  if (code.querySelector('a[href], img')) {
    for (const child of childNodesOf(code)) pushCodeInto(child);
    return unwrap(code);
  }
  const lines = linesOf(code).split('\n');
  // Only a forced break ends a line here; in the source, a line's end is a space.
  const isSeveral = [...code.querySelectorAll('*')].some((part) => part.nodeName === 'BR' || isBlock(part));
  if (!isSeveral) {
    code.textContent = lines.join(' ');
    return;
  }
  const { ownerDocument: document, parentNode: parent } = code;
  for (const [index, line] of lines.filter((text) => text.trim() !== '').entries()) {
    if (index > 0) parent?.insertBefore(document.createElement('br'), code);
    parent?.insertBefore(codeOf(line, document), code);
  }
  code.remove();
}

function pushCodeInto(node: DomNode): void {
  if (isElement(node) && (node.nodeName === 'IMG' || node.nodeName === 'BR')) return;
  if (isElement(node) && (node.nodeName === 'A' || node.querySelector('a, img'))) {
    for (const child of childNodesOf(node)) pushCodeInto(child);
    return;
  }
  const text = linesOf(node);
  const parent = node.parentNode;
  if (text.trim() === '' || !parent) return;
  parent.insertBefore(codeOf(text, parent.ownerDocument), node);
  node.remove();
}

function codeOf(text: string, document: DomDocument): DomElement {
  const code = document.createElement('code');
  code.textContent = text;
  return code;
}
