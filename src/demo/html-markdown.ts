import { Readability } from '@mozilla/readability';
import { readPage, type PageSource } from './html-charset.ts';
import { flattenCode } from './html-code.ts';
import { copyOf, parseHtml, type DomDocument, type DomElement } from './html-document.ts';
import { simplifyInline } from './html-inline.ts';
import { resolveLinks } from './html-links.ts';
import { markTasks, straightenLists, TASK } from './html-lists.ts';
import { separateTables } from './html-tables.ts';
import { linesOf, textOf } from './html-tree.ts';
import { removeInvisible } from './html-visible.ts';
import { writeMarkdown } from './markdown-blocks.ts';
import { escapeText, LINE_START } from './markdown-inline.ts';
import { Refusal } from './refusal.ts';
import { splitWords } from './sentences.ts';

export type HtmlJob = { source: PageSource; baseUrl: string | undefined; mainContentOnly: boolean };

/** What the HTML converter sells. */
export type MarkdownPage = { title: string; markdown: string; words: number; links_count: number };

/** Converts one page. `mainContentOnly` leaves out navigation, sidebars and footers where an article is found. */
export function htmlToMarkdown({ source, baseUrl, mainContentOnly }: HtmlJob): MarkdownPage {
  const document = parseHtml(readPage(source));
  if (document.querySelector('frameset'))
    throw new Refusal(422, 'The page consists of frames; give the url of the page in one of them.');
  if (depthOf(document.body) > MAX_DEPTH) throw new Refusal(422, 'The page is nested too deeply.');
  preparePage(document, baseUrl);
  const title = titleOf(document);

  // Readability takes the tree apart, so it works on one of its own.
  const article = mainContentOnly ? readArticle(copyOf(document)) : undefined;
  const content = article ?? document.body;
  simplify(content);
  const { text, links } = writeMarkdown(content);
  if (text === '')
    throw new Refusal(422, 'The page contains no text; it may be built by scripts in the browser.');
  // Readability takes the headline for the title and leaves it out of the article.
  const isHeadless = article !== undefined && title !== '' && !content.querySelector('h1');
  return {
    title,
    markdown: isHeadless ? `# ${escapeText(title)}\n\n${text}` : text,
    words: splitWords(linesOf(content).replace(STAND_INS, '')).length,
    links_count: links,
  };
}

/** Readability and Turndown recurse into the tree and slow down with the square of its depth. */
const MAX_DEPTH = 1_000;

function depthOf(root: DomElement): number {
  let deepest = 0;
  let depth = 0;
  let element: DomElement | null = root;
  while (element) {
    const child: DomElement | null = element.firstElementChild;
    if (child) {
      depth += 1;
      deepest = Math.max(deepest, depth);
      element = child;
      continue;
    }
    while (element && element !== root && !element.nextElementSibling) {
      depth -= 1;
      element = element.parentNode;
    }
    element = element === root ? null : (element?.nextElementSibling ?? null);
  }
  return deepest;
}

/** Not words: boxes of tasks, and what tells where a line starts. */
const STAND_INS = new RegExp(`[${TASK}${LINE_START}]`, 'g');

/** What must happen before Readability, which reads a page as it is shown and drops what looks like a form. */
function preparePage(document: DomDocument, baseUrl: string | undefined): void {
  removeInvisible(document);
  resolveLinks(document, baseUrl);
  markTasks(document.body);
  flattenCode(document.body);
}

/** Leaves only what Markdown has a form for. */
function simplify(content: DomElement): void {
  separateTables(content);
  straightenLists(content);
  simplifyInline(content);
}

/** The headline, when the page's title is the headline with a site's name around it. */
function titleOf(document: DomDocument): string {
  const title = document.title.replace(/\s+/g, ' ').trim();
  const heading = document.querySelector('h1');
  const headline = heading ? textOf(heading) : '';
  return title === '' || (headline !== '' && title.includes(headline)) ? headline : title;
}

function readArticle(document: DomDocument): DomElement | undefined {
  const reader = new Readability<DomElement>(document, {
    serializer: (node) => node,
    // The class of a code block names its language.
    keepClasses: true,
  });
  return reader.parse()?.content ?? undefined;
}
