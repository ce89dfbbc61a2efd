import { readFileSync } from 'node:fs';
import wordListPath from 'word-list';
import { splitWords } from './sentences.ts';

/** Puts the words of a document together that its typesetter took apart. */
export type WordJoiner = {
  /** A line and the one below it; a word divided between them becomes whole again. */
  joinLines(text: string, next: string): string;
  /** A drop cap and the text that it opens. */
  joinDropCap(cap: string, text: string): string;
};

/** Only the end of a paragraph that grows line by line is looked at again for each. */
const MAX_WORD = 100;

/** `lines` are those of the document: its own words are the best witnesses of how it writes them. */
export function createWordJoiner(lines: readonly string[]): WordJoiner {
  const vocabulary = new Set<string>();
  for (const line of lines) {
    // The last word of a line and the first one may be halves.
    for (const word of line.toLowerCase().split(/\s+/).slice(1, -1)) {
      const bare = word.replaceAll(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, '');
      vocabulary.add(bare);
      for (const part of splitWords(bare)) vocabulary.add(part);
    }
  }
  const isKnown = (word: string) => vocabulary.has(word) || isEnglish(word);

  function keepsHyphen(before: string, after: string): boolean {
    if (vocabulary.has(`${before}-${after}`)) return true;
    if (vocabulary.has(before + after)) return false;
    if (isEnglish(before + after)) return false;
    return isKnown(before) && isKnown(after);
  }

  return {
    joinLines(text, next) {
      if (text.endsWith('\u00ad')) return text.slice(0, -1) + next;
      const end = text.slice(-MAX_WORD);
      const divided = /(\p{L}[\p{L}\p{M}'’]*)[-‐]$/u.exec(end);
      const rest = /^\p{L}[\p{L}\p{M}'’]*/u.exec(next);
      if (divided && rest) {
        const before = divided[1]!;
        const after = rest[0];
        const isWord = /^\p{Ll}/u.test(after) || (before.length > 1 && before === before.toUpperCase());
        if (isWord && !keepsHyphen(before.toLowerCase(), after.toLowerCase()))
          return text.slice(0, -1) + next;
        return text + next;
      }
      if (/[\p{L}\p{N})\]”’][-‐‑–—/]$/u.test(end) && /^[\p{L}\p{N}(“‘]/u.test(next)) return text + next;
      return UNSPACED_END.test(end) && UNSPACED_START.test(next) ? text + next : `${text} ${next}`;
    },
    joinDropCap(cap, text) {
      const first = /^\p{L}[\p{L}\p{M}'’]*/u.exec(text)?.[0].toLowerCase() ?? '';
      const isWordAlone = /^["“‘«]?[AIO]$/u.test(cap) && isKnown(first) && !isKnown(bareLetters(cap) + first);
      return isWordAlone ? `${cap} ${text}` : cap + text;
    },
  };
}

// Chinese and Japanese are written without spaces, Korean with them.
const UNSPACED_END = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\u3000-\u303f\uff01-\uff60ー]$/u;
const UNSPACED_START = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\u3000-\u303f\uff01-\uff60ー]/u;

function bareLetters(text: string): string {
  return text.toLowerCase().replaceAll(/[^\p{L}]/gu, '');
}

let wordList: string | undefined;

/** Read when the document's own words cannot decide. One long string is searched faster than a set is built. */
function isEnglish(word: string): boolean {
  wordList ??= `\n${readFileSync(wordListPath, 'utf8')}\n`;
  return word.length > 1 && wordList.includes(`\n${word}\n`);
}
