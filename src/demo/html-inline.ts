import type { DomElement, DomNode } from './html-document.ts';
import { childNodesOf, isBlock, isElement, isText, moveChildren, rename, unwrap } from './html-tree.ts';
import { BANG, LINE_START } from './markdown-inline.ts';

/**
 * Leaves only the inline elements that Markdown has marks for, each of them around text of a single block, none
 * within its like and none directly beside it: marks that meet or that span blocks are read as plain characters.
 */
export function simplifyInline(root: DomElement): void {
  for (const element of root.querySelectorAll('*')) {
    const name = SYNONYMS[element.nodeName];
    if (name !== undefined) rename(element, name);
    else if (!isBlock(element) && !MARKS.has(element.nodeName) && !ATOMS.has(element.nodeName))
      dissolve(element);
  }
  const withBlocks = elementsAroundBlocks(root);
  for (const link of root.querySelectorAll('a')) {
    if (!link.hasAttribute('href')) unwrap(link);
    else if (withBlocks.has(link)) linkOneBlock(link, withBlocks);
  }
  for (const mark of root.querySelectorAll('strong, em, del, sup, sub')) {
    if (isWithinItsLike(mark)) unwrap(mark);
    else if (withBlocks.has(mark)) pushInward(mark, withBlocks);
  }
  joinNeighbours(root);
  root.normalize();
  for (const link of root.querySelectorAll('a')) keepBang(link);
  settleBreaks(root);
  markLineStarts(root);
}

const SYNONYMS: Record<string, string> = {
  B: 'strong',
  I: 'em',
  MARK: 'em',
  S: 'del',
  STRIKE: 'del',
  ...Object.fromEntries(
    ['DETAILS', 'SUMMARY', 'LEGEND', 'DIALOG', 'SEARCH', 'OPTGROUP', 'OPTION'].map((name) => [name, 'div']),
  ),
};
const MARKS = new Set(['A', 'STRONG', 'EM', 'DEL', 'SUP', 'SUB', 'CODE']);
const ATOMS = new Set(['IMG', 'BR', 'COL', 'COLGROUP']);

/** An element without a mark of its own leaves its text, with the signs that a browser would add to it. */
function dissolve(element: DomElement): void {
  if (element.getAttribute('role') === 'checkbox') return;
  const text = (sign: string) => element.ownerDocument.createTextNode(sign);
  if (element.nodeName === 'Q') {
    element.insertBefore(text('“'), element.firstChild);
    element.appendChild(text('”'));
  }
  // Ruby is small text above other text; where the page brings no brackets for it, the two would run together.
  if (element.nodeName === 'RT' && element.previousElementSibling?.nodeName !== 'RP') {
    element.insertBefore(text('('), element.firstChild);
    element.appendChild(text(')'));
  }
  unwrap(element);
}

function elementsAroundBlocks(root: DomElement): Set<DomElement> {
  const around = new Set<DomElement>();
  for (const element of root.querySelectorAll('*')) {
    if (!isBlock(element)) continue;
    for (let parent = element.parentNode; parent && !around.has(parent); parent = parent.parentNode)
      around.add(parent);
  }
  return around;
}

/** A link around a whole card stays on its heading, or else on the first of its blocks that has text. */
function linkOneBlock(link: DomElement, withBlocks: ReadonlySet<DomElement>): void {
  const pieces = pushInward(link, withBlocks);
  const isHeading = (piece: DomElement) => /^H[1-6]$/.test(piece.parentNode?.nodeName ?? '');
  const kept =
    pieces.find(isHeading) ?? pieces.find((piece) => (piece.textContent ?? '').trim() !== '') ?? pieces[0];
  for (const piece of pieces) if (piece !== kept) unwrap(piece);
}

/** Puts copies of the mark around the text of each block inside it instead of around the blocks. */
function pushInward(mark: DomElement, withBlocks: ReadonlySet<DomElement>): DomElement[] {
  const pieces: DomElement[] = [];
  const wrapRuns = (parent: DomElement): void => {
    let piece: DomElement | undefined;
    for (const child of childNodesOf(parent)) {
      if (isElement(child) && (isBlock(child) || withBlocks.has(child))) {
        piece = undefined;
        if (child.nodeName !== 'PRE') wrapRuns(child);
        continue;
      }
      if (!piece) {
        if (isText(child) && child.data.trim() === '') continue;
        piece = mark.cloneNode(false);
        parent.insertBefore(piece, child);
        pieces.push(piece);
      }
      piece.appendChild(child);
    }
  };
  wrapRuns(mark);
  unwrap(mark);
  return pieces;
}

function isWithinItsLike(mark: DomElement): boolean {
  for (let parent = mark.parentNode; parent && !isBlock(parent); parent = parent.parentNode) {
    if (parent.nodeName === mark.nodeName && mark.nodeName !== 'SUP' && mark.nodeName !== 'SUB') return true;
  }
  return false;
}

function joinNeighbours(root: DomElement): void {
  for (const mark of root.querySelectorAll('strong, em, del, code')) {
    const before = mark.previousSibling;
    if (!isElement(before) || before.nodeName !== mark.nodeName) continue;
    moveChildren(mark, before);
    mark.remove();
  }
}

/** A break at a block's edge shows nothing, and several in a row are an empty line between two paragraphs. */
function settleBreaks(root: DomElement): void {
  for (const first of root.querySelectorAll('br')) {
    if (!first.parentNode) continue;
    const { breaks, after } = runOf(first);
    const parent = first.parentNode;
    const isAtEdge = isBlock(parent) && (beginsLine(first) || after === null || isBlock(after));
    if (breaks.length > 1 && isBlock(parent) && !/^H[1-6]$/.test(parent.nodeName)) {
      parent.insertBefore(root.ownerDocument.createElement('div'), first);
      for (const each of breaks) each.remove();
      continue;
    }
    for (const each of isAtEdge ? breaks : breaks.slice(1)) each.remove();
  }
}

/** The breaks that follow one another with nothing but white space between, and what comes after them. */
function runOf(first: DomElement): { breaks: DomElement[]; after: DomNode | null } {
  const breaks = [first];
  let after = first.nextSibling;
  while (after && (after.nodeName === 'BR' || (isText(after) && after.data.trim() === ''))) {
    if (isElement(after)) breaks.push(after);
    after = after.nextSibling;
  }
  return { breaks, after };
}

function beginsLine(node: DomNode): boolean {
  let before = node.previousSibling;
  while (before && isText(before) && before.data.trim() === '') before = before.previousSibling;
  return before === null || isBlock(before) || before.nodeName === 'BR';
}

// An exclamation mark directly before a link would make a picture of it.
function keepBang(link: DomElement): void {
  const before = link.previousSibling;
  if (isText(before)) before.data = before.data.replace(/!$/, BANG);
}

/** Tells text that begins a line, where many more characters are marks. */
function markLineStarts(parent: DomElement): void {
  for (const child of childNodesOf(parent)) {
    if (isElement(child) && isBlock(child)) {
      if (!/^(?:PRE|H[1-6])$/.test(child.nodeName)) markLineStarts(child);
    } else if (isText(child) && beginsLine(child) && child.data.trim() !== '' && isBlock(parent)) {
      child.data = LINE_START + child.data.trimStart();
    }
  }
}
