/** A regular expression as ECMAScript reads it under the flag `u`, taken apart. */
export type Branch = Item[];
export type Item = { node: Node; min: number; max: number };
export type Node =
  /** One code point out of a set; `source` is how the set is written. */
  | { kind: 'atom'; source: string }
  | { kind: 'start' }
  | { kind: 'end' }
  | { kind: 'word'; negated: boolean }
  | { kind: 'group'; branches: Branch[] }
  | { kind: 'lookahead'; negated: boolean; branches: Branch[] };

export type ParsedPattern = { kind: 'ok'; branches: Branch[] } | { kind: 'refused'; message: string };

export const MAX_PATTERN_CHARACTERS = 4_096;
const MAX_NESTED_GROUPS = 100;

/** Takes a pattern apart, or says in words for its seller why it is not accepted whatever matches it. */
export function parsePattern(source: string): ParsedPattern {
  if (source.length > MAX_PATTERN_CHARACTERS) {
    return refused(`is longer than ${MAX_PATTERN_CHARACTERS} characters`);
  }
  if (!isExpression(source)) return refused('is not a valid regular expression (ECMAScript, flag u)');
  try {
    return { kind: 'ok', branches: parseBranches(source) };
  } catch (error) {
    if (error instanceof PatternRefused) return refused(error.message);
    throw error;
  }
}

/**
 * The same pattern without escapes that mean nothing (`\"`, `\@`, `\_`), which the flag `u` forbids and much
 * generated text has. As it was where that does not make it valid.
 */
export function withoutNeedlessEscapes(source: string): string {
  if (isExpression(source)) return source;
  let inClass = false;
  const plain = source.replaceAll(/\\([\s\S])|[[\]]/g, (token, escaped: string | undefined) => {
    if (escaped === undefined) inClass = token === '[' || (inClass && token !== ']');
    else if (/[^A-Za-z0-9^$\\.*+?()[\]{}|/-]/.test(escaped) || (escaped === '-' && !inClass)) return escaped;
    return token;
  });
  return isExpression(plain) ? plain : source;
}

function refused(message: string): ParsedPattern {
  return { kind: 'refused', message };
}

function isExpression(source: string): boolean {
  try {
    return new RegExp(source, 'u').unicode;
  } catch {
    return false;
  }
}

/** Leaves the parser at the first construct that is not accepted. */
class PatternRefused extends Error {}

// The source is known to be valid, so the parser only has to tell the parts apart. Two escaped halves of a surrogate
// pair are one code point.
const TOKEN =
  /\\[pPk][{<][^}>]*[}>]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u\{[^}]*\}|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\c[A-Za-z]|\\[\s\S]|\[(?:\\[\s\S]|[^\]\\])*\]|\(\?(?:<(?![=!])[^>]*>|<[=!]|[^)]?)|[\s\S]/uy;
const QUANTIFIER = /(?:[*+?]|\{(\d+)(,?)(\d*)\})\??/uy;

function parseBranches(source: string): Branch[] {
  let at = 0;
  let depth = 0;
  const alternatives = (): Branch[] => {
    if (++depth > MAX_NESTED_GROUPS) throw new PatternRefused(`nests more than ${MAX_NESTED_GROUPS} groups`);
    const branches: Branch[] = [[]];
    while (at < source.length && source[at] !== ')') {
      if (source[at] === '|') {
        branches.push([]);
        at++;
      } else {
        const node = part();
        branches.at(-1)?.push({ node, ...quantifier() });
      }
    }
    depth--;
    return branches;
  };
  const group = (): Branch[] => {
    const branches = alternatives();
    at++;
    return branches;
  };
  const part = (): Node => {
    TOKEN.lastIndex = at;
    const token = TOKEN.exec(source)?.[0] ?? '';
    at += token.length;
    if (token === '^') return { kind: 'start' };
    if (token === '$') return { kind: 'end' };
    if (token === String.raw`\b` || token === String.raw`\B`)
      return { kind: 'word', negated: token.endsWith('B') };
    if (/^\\[k1-9]/.test(token)) throw new PatternRefused('uses a back-reference, which is not accepted');
    if (!token.startsWith('(')) return { kind: 'atom', source: token };
    if (token === '(?=' || token === '(?!')
      return { kind: 'lookahead', negated: token === '(?!', branches: group() };
    if (token === '(?<=' || token === '(?<!')
      throw new PatternRefused('uses a lookbehind, which is not accepted');
    if (token !== '(' && token !== '(?:' && !token.startsWith('(?<'))
      throw new PatternRefused('uses an inline flag, which is not accepted');
    return { kind: 'group', branches: group() };
  };
  const quantifier = (): { min: number; max: number } => {
    QUANTIFIER.lastIndex = at;
    const match = QUANTIFIER.exec(source);
    if (match === null) return { min: 1, max: 1 };
    at += match[0].length;
    const sign = match[0][0];
    if (sign === '*') return { min: 0, max: Infinity };
    if (sign === '+') return { min: 1, max: Infinity };
    if (sign === '?') return { min: 0, max: 1 };
    const min = Number(match[1]);
    return { min, max: match[2] === '' ? min : match[3] === '' ? Infinity : Number(match[3]) };
  };
  return alternatives();
}
