import type { DomElement, DomNode, DomText } from './html-document.ts';

/** The children as they are now, so that the tree may change while they are walked. */
export function childNodesOf(parent: DomNode): DomNode[] {
  const children: DomNode[] = [];
  for (let child = parent.firstChild; child; child = child.nextSibling) children.push(child);
  return children;
}

export function isElement(node: DomNode | null): node is DomElement {
  return node?.nodeType === 1;
}

/** Text, also that of a CDATA section, which only foreign content (MathML) has. */
export function isText(node: DomNode | null): node is DomText {
  return node?.nodeType === 3 || node?.nodeType === 4;
}

/** Elements that stand on lines of their own. The parts of a table are among them, but `br` is not. */
export function isBlock(node: DomNode): boolean {
  return BLOCKS.has(node.nodeName);
}

const BLOCKS = new Set(
  (
    'ADDRESS ARTICLE ASIDE BLOCKQUOTE BODY CAPTION CENTER DD DETAILS DIALOG DIR DIV DL DT FIELDSET FIGCAPTION FIGURE ' +
    'FOOTER FORM H1 H2 H3 H4 H5 H6 HEADER HGROUP HR LEGEND LI LISTING MAIN MENU NAV OL OPTGROUP OPTION P PLAINTEXT ' +
    'PRE SEARCH SECTION SUMMARY TABLE TBODY TD TFOOT TH THEAD TR UL XMP'
  ).split(' '),
);

export function hasAncestor(node: DomNode, names: ReadonlySet<string>): boolean {
  for (let parent = node.parentNode; parent; parent = parent.parentNode) {
    if (names.has(parent.nodeName)) return true;
  }
  return false;
}

export function moveChildren(from: DomElement, to: DomElement): void {
  for (const child of childNodesOf(from)) to.appendChild(child);
}

/** Puts an element of another name in the place of this one, with its attributes and children. */
export function rename(element: DomElement, name: string): DomElement {
  const renamed = element.ownerDocument.createElement(name);
  for (const attribute of element.attributes) copyAttribute(attribute, renamed);
  moveChildren(element, renamed);
  element.replaceWith(renamed);
  return renamed;
}

// A parser accepts attribute names that the DOM refuses to set, such as `"`; they mean nothing.
function copyAttribute({ name, value }: { name: string; value: string }, to: DomElement): void {
  if (/^[a-z][\w:.-]*$/i.test(name)) to.setAttribute(name, value);
}

/** Leaves the children in the place of the element. */
export function unwrap(element: DomElement): void {
  const parent = element.parentNode;
  for (const child of childNodesOf(element)) parent?.insertBefore(child, element);
  element.remove();
}

/** The text with blocks and forced breaks on lines of their own, each `sup` and `sub` after its sign. */
export function linesOf(root: DomNode): string {
  const parts: string[] = [];
  let endsLine = true;
  const write = (text: string) => {
    if (text === '') return;
    parts.push(text);
    endsLine = text.endsWith('\n');
  };
  const visit = (node: DomNode): void => {
    if (isText(node)) return write(node.data);
    if (node.nodeName === 'BR') return write('\n');
    const ownLine = isBlock(node) && node !== root;
    if (ownLine && !endsLine) write('\n');
    if (node.nodeName === 'SUP') write('^');
    if (node.nodeName === 'SUB') write('_');
    for (const child of childNodesOf(node)) visit(child);
    if (ownLine && !endsLine) write('\n');
  };
  visit(root);
  return parts.join('');
}

/** The text on one line, words of neighbouring blocks apart. */
export function textOf(root: DomNode): string {
  return linesOf(root).replace(/\s+/g, ' ').trim();
}
