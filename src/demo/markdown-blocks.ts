import TurndownService from 'turndown';
import { taskListItems } from '@joplin/turndown-plugin-gfm';
import type { DomElement } from './html-document.ts';
import { addCodeRules } from './markdown-code.ts';
import { addInlineRules, BANG, BREAK } from './markdown-inline.ts';
import { addTableRules } from './markdown-tables.ts';

/** Writes a tree that `prepareContent` has simplified as GitHub Flavored Markdown. */
export function writeMarkdown(content: DomElement): { text: string; links: number } {
  let links = 0;
  const turndown = new TurndownService({ bulletListMarker: '-', hr: '---' });
  addBlockRules(turndown);
  addTableRules(turndown);
  addInlineRules(turndown, () => {
    links += 1;
  });
  turndown.use(taskListItems);
  const restoreCode = addCodeRules(turndown);

  const tidy = turndown
    .turndown(content)
    .replace(/[ \t]+$/gm, '')
    .replace(/\n{3,}/g, '\n\n')
    .replaceAll(BREAK, '  ')
    .replaceAll(BANG, '\\!')
    .trim();
  return { text: restoreCode(tidy), links };
}

function addBlockRules(turndown: TurndownService): void {
  const rule = (
    name: string,
    filter: TurndownService.TagName[],
    replacement: (content: string, node: DomElement) => string,
  ) => {
    turndown.addRule(name, {
      filter,
      replacement: (content, node) => replacement(content, node),
    });
  };
  rule('heading', ['h1', 'h2', 'h3', 'h4', 'h5', 'h6'], (content, heading) => {
    // A heading is a line, and number signs at its end would be taken for its frame.
    const text = content
      .trim()
      .replace(/\s*\n\s*/g, ' ')
      .replace(/(^|\s)(?=#+$)/, '$1\\');
    return `\n\n${'#'.repeat(Number(heading.nodeName[1]))} ${text}\n\n`;
  });
  rule('quotation', ['blockquote'], (content) => `\n\n${content.trim().replace(/^/gm, '> ')}\n\n`);
  rule('listItem', ['li'], formatItem);
}

/** One space after the mark, where Turndown writes three. */
function formatItem(content: string, item: DomElement): string {
  const mark = markOf(item);
  // White space inside an item belongs to its text only at the ends of lines.
  const text = content.trim().replace(/\n(?!\n)/g, `\n${' '.repeat(mark.indent)}`);
  return `${mark.text}${text}${item.nextElementSibling ? '\n' : ''}`;
}

function markOf(item: DomElement): { text: string; indent: number } {
  const list = item.parentNode;
  const isSecond = list?.hasAttribute('data-second') ?? false;
  if (list?.nodeName !== 'OL') return { text: isSecond ? '* ' : '- ', indent: 2 };
  const number = item.getAttribute('value') ?? '1';
  // Markdown numbers items with up to nine digits and no sign; others keep theirs as text.
  if (!/^\d{1,9}$/.test(number)) return { text: `- ${number}. `, indent: 2 };
  const text = `${number}${isSecond ? ')' : '.'} `;
  return { text, indent: text.length };
}
