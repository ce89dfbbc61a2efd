import type TurndownService from 'turndown';
import type { DomElement } from './html-document.ts';
import { hasAncestor } from './html-tree.ts';

/** Puts the code back for the tokens that stood for it. */
export type CodeRestorer = (markdown: string) => string;

/**
 * Blocks of code are put in last of all, so that nothing that tidies the text around them touches them. Until
 * then a noncharacter and the block's number stand in their place.
 */
export function addCodeRules(turndown: TurndownService): CodeRestorer {
  const blocks: string[] = [];
  turndown.addRule('codeBlock', {
    filter: 'pre',
    replacement: (_, node) => {
      const block: DomElement = node;
      const code = block.textContent ?? '';
      if (hasAncestor(block, CELLS)) return `\n\n${inCell(code)}\n\n`;
      blocks.push(fence(code, block.getAttribute('data-language') ?? ''));
      return `\n\n${TOKEN}${blocks.length - 1};\n\n`;
    },
  });
  return (markdown) =>
    markdown.replace(new RegExp(`^(.*)${TOKEN}(\\d+);`, 'gm'), (_, before: string, index: string) => {
      // Lines after the first stand below the mark of the list or quotation that they are in.
      const prefix = before.replace(/[^>\s]/g, ' ');
      const [first = '', ...rest] = (blocks[Number(index)] ?? '').split('\n');
      return [before + first, ...rest.map((line) => (line === '' ? prefix.trimEnd() : prefix + line))].join(
        '\n',
      );
    });
}

const TOKEN = '\ufdd2';
const CELLS = new Set(['TD', 'TH']);

/** The fence is longer than any run of its character in the code. */
function fence(code: string, language: string): string {
  const mark = '`'.repeat(Math.max(3, longestRun(code) + 1));
  return `${mark}${language}\n${code}\n${mark}`;
}

/** A cell is a single line, which holds no fence. */
function inCell(code: string): string {
  const mark = '`'.repeat(longestRun(code) + 1);
  return code
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => (/^`|`$/.test(line) ? `${mark} ${line} ${mark}` : mark + line + mark))
    .join('\n');
}

function longestRun(code: string): number {
  return (code.match(/`+/g) ?? []).reduce((longest, run) => Math.max(longest, run.length), 0);
}
