import { createRequire } from 'node:module';

/** The part of the DOM that is used here: this project compiles without the browser's types. */
export type DomNode = {
  readonly nodeType: number;
  readonly nodeName: string;
  readonly parentNode: DomElement | null;
  readonly firstChild: DomNode | null;
  readonly previousSibling: DomNode | null;
  readonly nextSibling: DomNode | null;
  textContent: string | null;
  remove(): void;
};

export type DomText = DomNode & { data: string };

export type DomElement = DomNode & {
  readonly ownerDocument: DomDocument;
  readonly children: DomElement[];
  readonly attributes: Iterable<{ name: string; value: string }>;
  readonly firstElementChild: DomElement | null;
  readonly previousElementSibling: DomElement | null;
  readonly nextElementSibling: DomElement | null;
  getAttribute(name: string): string | null;
  hasAttribute(name: string): boolean;
  setAttribute(name: string, value: string): void;
  removeAttribute(name: string): void;
  appendChild(child: DomNode): void;
  insertBefore(child: DomNode, before: DomNode | null): void;
  replaceWith(...nodes: DomNode[]): void;
  cloneNode(deep: boolean): DomElement;
  normalize(): void;
  querySelector(selector: string): DomElement | null | undefined;
  querySelectorAll(selector: string): DomElement[];
};

export type DomDocument = Omit<DomElement, 'cloneNode'> & {
  readonly title: string;
  readonly body: DomElement;
  cloneNode(deep: boolean): DomDocument;
  createElement(name: string): DomElement;
  createTextNode(text: string): DomText;
};

/** Parses as browsers do; scripts never run and nothing is loaded. */
export function parseHtml(html: string): DomDocument {
  return asDocument(domino.createDocument(html));
}

/** A copy to take apart. */
export function copyOf(document: DomDocument): DomDocument {
  return asDocument(document.cloneNode(true));
}

// Domino throws for `baseURI`. Without one, Readability leaves links as they are: they are absolute by then.
function asDocument(document: DomDocument): DomDocument {
  Object.defineProperty(document, 'baseURI', { value: '' });
  Object.defineProperty(document, 'documentURI', { value: '' });
  return withStaticQueries(document);
}

type LiveList = { readonly length: number; item(index: number): DomElement };
type Query = (this: unknown, selector: string) => LiveList | DomElement[];

// Domino's own declarations are for a package of another name.
const domino = createRequire(import.meta.url)('@mixmark-io/domino') as {
  createDocument(html: string): DomDocument & { getElementsByTagName(name: string): LiveList };
  impl: Record<'Element' | 'HTMLElement', { prototype: { querySelectorAll: Query } }>;
};

// Domino answers the simplest selectors with a live list that cannot be iterated. Readability iterates, and
// changes the document meanwhile, so it needs the static list that the DOM standard promises. Domino's own
// methods are sealed; these stand in front of them.
function withStaticQueries<T extends object>(target: T): T {
  const query = (target as { querySelectorAll: Query }).querySelectorAll;
  return Object.defineProperty(target, 'querySelectorAll', {
    value(this: unknown, selector: string): DomElement[] {
      return toArray(query.call(this, selector));
    },
  });
}

function toArray(list: LiveList | DomElement[]): DomElement[] {
  return Array.isArray(list) ? list : Array.from({ length: list.length }, (_, index) => list.item(index));
}

withStaticQueries(domino.impl.HTMLElement.prototype);

// `children` is live too, and out of date when Readability moves elements in a tree that is not in a document.
Object.defineProperty(domino.impl.HTMLElement.prototype, 'children', {
  get(this: DomElement): DomElement[] {
    const children: DomElement[] = [];
    for (let child = this.firstElementChild; child; child = child.nextElementSibling) children.push(child);
    return children;
  },
});

const liveLists = Object.getPrototypeOf(domino.createDocument('').getElementsByTagName('a')) as object;
Object.defineProperty(liveLists, Symbol.iterator, {
  value(this: LiveList) {
    return toArray(this).values();
  },
});
