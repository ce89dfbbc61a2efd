import { Readability } from '@mozilla/readability';
import TurndownService from 'turndown';
import { copyOf, parseHtml, type DomDocument, type DomElement } from './html-document.ts';
import { Refusal } from './refusal.ts';
import { addTableRules } from './markdown-tables.ts';
import { splitWords } from './sentences.ts';

export type HtmlJob = { html: string; baseUrl: string | undefined; mainContentOnly: boolean };

/** What the HTML converter sells. */
export type MarkdownPage = { title: string; markdown: string; words: number; links_count: number };

/** Converts one page. `mainContentOnly` leaves out navigation, sidebars and footers where an article is found. */
export function htmlToMarkdown({ html, baseUrl, mainContentOnly }: HtmlJob): MarkdownPage {
  const document = parseHtml(html);
  if (depthOf(document.body) > MAX_DEPTH) throw new Refusal(422, 'The page is nested too deeply.');
  return convert(document, baseUrl, mainContentOnly);
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

function convert(document: DomDocument, baseUrl: string | undefined, mainContentOnly: boolean): MarkdownPage {
  for (const element of document.querySelectorAll(INVISIBLE)) element.remove();
  if (baseUrl !== undefined) makeLinksAbsolute(document, baseUrl);
  for (const link of document.querySelectorAll('a[href^="javascript:"]')) link.removeAttribute('href');
  for (const image of document.querySelectorAll('img[src^="data:"]')) image.remove();
  const title = titleOf(document);

  // Readability takes the tree apart, so it works on one of its own.
  const article = mainContentOnly ? readArticle(copyOf(document)) : undefined;
  const content = article ?? document.body;
  const text = createTurndown()
    .turndown(content)
    .replace(/[ \t]+$/gm, '')
    .replace(/\n{3,}/g, '\n\n')
    .trim();
  // Readability takes the headline for the title and leaves it out of the article.
  const markdown = article && title !== '' && !/^# /m.test(text) ? `# ${title}\n\n${text}` : text;
  if (text === '')
    throw new Refusal(422, 'The page contains no text; it may be built by scripts in the browser.');
  return {
    title,
    markdown,
    words: splitWords(content.textContent ?? '').length,
    links_count: content.querySelectorAll('a[href]').length,
  };
}

const INVISIBLE = 'script, style, noscript, template, iframe, object, embed, svg, canvas, [hidden]';

function makeLinksAbsolute(document: DomDocument, pageUrl: string): void {
  const declared = document.querySelector('base[href]')?.getAttribute('href') ?? '';
  const base = URL.parse(declared, pageUrl)?.href ?? pageUrl;
  for (const [selector, attribute] of [
    ['a[href]', 'href'],
    ['img[src]', 'src'],
  ] as const) {
    for (const element of document.querySelectorAll(selector)) {
      const target = element.getAttribute(attribute) ?? '';
      // A link within the page stays one.
      const absolute = target.startsWith('#') ? undefined : URL.parse(target, base)?.href;
      if (absolute !== undefined) element.setAttribute(attribute, absolute);
    }
  }
}

/** The headline, when the page's title is the headline with a site's name around it. */
function titleOf(document: DomDocument): string {
  const title = oneLine(document.title);
  const headline = oneLine(document.querySelector('h1')?.textContent ?? '');
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

function createTurndown(): TurndownService {
  const turndown = new TurndownService({
    headingStyle: 'atx',
    codeBlockStyle: 'fenced',
    bulletListMarker: '-',
    emDelimiter: '_',
    hr: '---',
  });
  turndown.remove(['button', 'select', 'textarea', 'title']);
  turndown.addRule('strikethrough', { filter: ['del', 's'], replacement: (content) => `~~${content}~~` });
  turndown.addRule('listItem', { filter: 'li', replacement: listItem });
  addTableRules(turndown);
  return turndown;
}

/** One space after the mark, where Turndown writes three. */
function listItem(content: string, node: TurndownService.Node): string {
  const item = node as unknown as DomElement;
  const list = item.parentNode;
  const position = list ? list.children.indexOf(item) : 0;
  const first = Number.parseInt(list?.getAttribute('start') ?? '1', 10) || 1;
  const mark = list?.nodeName === 'OL' ? `${first + position}. ` : '- ';
  const text = content.trim().replaceAll('\n', `\n${' '.repeat(mark.length)}`);
  return `${mark}${text}${item.nextElementSibling ? '\n' : ''}`;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
