import type { DomElement, DomNode } from './html-document.ts';
import { hasAncestor, isElement, isText, moveChildren, rename, unwrap } from './html-tree.ts';

/** Gives lists the one form that the Markdown is written from: `ul` and `ol` with nothing but numbered `li`. */
export function straightenLists(root: DomElement): void {
  for (const list of root.querySelectorAll('menu, dir')) rename(list, 'ul');
  for (const list of root.querySelectorAll('dl')) listDefinitions(list);
  for (const list of root.querySelectorAll('ul, ol')) {
    adoptStrayLists(list);
    if (list.nodeName === 'OL') numberItems(list);
    markNeighbour(list);
  }
}

/** A term is an item, and what is said of it is a list below it. */
function listDefinitions(list: DomElement): void {
  const create = (name: string) => list.ownerDocument.createElement(name);
  const terms = create('ul');
  let term: DomElement | undefined;
  let meanings: DomElement | undefined;
  for (const part of partsOf(list)) {
    const item = create('li');
    moveChildren(part, item);
    if (part.nodeName === 'DT') {
      terms.appendChild(item);
      term = item;
      meanings = undefined;
      continue;
    }
    if (!term) terms.appendChild((term = create('li')));
    if (!meanings) term.appendChild((meanings = create('ul')));
    meanings.appendChild(item);
  }
  list.replaceWith(terms);
}

/** The `dt` and `dd` of a list; they may be grouped in `div`. */
function partsOf(list: DomElement): DomElement[] {
  return list.children.flatMap((child) => {
    if (child.nodeName === 'DT' || child.nodeName === 'DD') return [child];
    return child.nodeName === 'DIV' ? partsOf(child) : [rename(child, 'dd')];
  });
}

/** A list directly in a list is meant to be below the item before it. */
function adoptStrayLists(list: DomElement): void {
  for (const child of list.children) {
    if (child.nodeName !== 'UL' && child.nodeName !== 'OL') continue;
    const item = child.previousElementSibling;
    if (item?.nodeName === 'LI') item.appendChild(child);
    else unwrap(child);
  }
}

/** Writes every item's number into its `value` (HTML standard, "ordinal value"). */
function numberItems(list: DomElement): void {
  const items = list.children.filter((child) => child.nodeName === 'LI');
  const step = list.hasAttribute('reversed') ? -1 : 1;
  let next = integerOf(list.getAttribute('start')) ?? (step < 0 ? items.length : 1);
  for (const item of items) {
    const number = integerOf(item.getAttribute('value')) ?? next;
    item.setAttribute('value', String(number));
    next = number + step;
  }
}

function integerOf(text: string | null): number | undefined {
  const number = /^\s*([+-]?\d+)/.exec(text ?? '')?.[1];
  return number === undefined ? undefined : Number(number);
}

/** Two lists in a row would be read as one if their marks were alike. */
function markNeighbour(list: DomElement): void {
  let before = list.previousSibling;
  while (before && isText(before) && before.data.trim() === '') before = before.previousSibling;
  const isSecond =
    isElement(before) && before.nodeName === list.nodeName && !before.hasAttribute('data-second');
  if (isSecond) list.setAttribute('data-second', '');
}

/**
 * Replaces each checkbox that begins an item by an element that says so in words, which neither Readability
 * nor the rule of the library takes for a form. Boxes in the cells of a table become signs; others are no text.
 */
export function markTasks(root: DomElement): void {
  for (const box of root.querySelectorAll('input, [role="checkbox"]')) {
    if (!isCheckbox(box)) {
      if (box.nodeName === 'INPUT') box.remove();
      continue;
    }
    const isChecked = box.hasAttribute('checked') || box.getAttribute('aria-checked') === 'true';
    const item = itemBegunBy(box);
    if (item) markTask(item, box, isChecked);
    else if (hasAncestor(box, CELLS)) markCell(box, isChecked);
    else if (box.nodeName === 'INPUT') box.remove();
    else box.removeAttribute('role');
  }
}

function isCheckbox(box: DomElement): boolean {
  return box.nodeName !== 'INPUT' || box.getAttribute('type')?.trim().toLowerCase() === 'checkbox';
}

/** The item in which nothing stands before the box. */
function itemBegunBy(box: DomElement): DomElement | undefined {
  for (let node: DomElement = box; node.parentNode; node = node.parentNode) {
    if (node.nodeName === 'LI') return node;
    for (let before: DomNode | null = node.previousSibling; before; before = before.previousSibling) {
      if ((before.textContent ?? '').trim() !== '') return undefined;
    }
  }
  return undefined;
}

function markTask(item: DomElement, box: DomElement, isChecked: boolean): void {
  const mark = item.ownerDocument.createElement('span');
  mark.setAttribute('role', 'checkbox');
  mark.setAttribute('aria-checked', String(isChecked));
  mark.textContent = TASK;
  // What wraps the box would keep its text from standing beside it.
  for (let wrapper = box.parentNode; wrapper && wrapper !== item; wrapper = box.parentNode) unwrap(wrapper);
  const following = box.nextSibling;
  if (isText(following)) following.data = following.data.trimStart();
  if (box.nodeName === 'INPUT') box.remove();
  else unwrap(box);
  item.insertBefore(mark, item.firstChild);
}

/** Stands for a box in the text of the tree; not a word. */
export const TASK = '☐';

function markCell(box: DomElement, isChecked: boolean): void {
  box.parentNode?.insertBefore(box.ownerDocument.createTextNode(isChecked ? '☑' : '☐'), box);
  if (box.nodeName === 'INPUT') box.remove();
  else unwrap(box);
}

const CELLS = new Set(['TD', 'TH']);
