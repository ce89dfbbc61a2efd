/**
 * RE2's spelling of an atom of an ECMAScript pattern (flag `u`): `.`, `\s`, `[^a-z\p{L}]`, `\u{1F600}`. Both mean the
 * same code points, which for `.` and `\s` takes other words: RE2 knows fewer spaces and line ends. A property that RE2
 * does not know (`\p{ID_Start}`) is a syntax error there.
 */
export function formatCodePoints(atom: string): string {
  if (atom === '.') return `[^${LINE_ENDS}]`;
  if (!atom.startsWith('[')) return `[${formatElement(atom)}]`;
  const negated = atom[1] === '^';
  const inner = atom.slice(negated ? 2 : 1, -1);
  if (inner === '') return negated ? `[${EVERYTHING}]` : `[^${EVERYTHING}]`;
  return `[${negated ? '^' : ''}${formatElements(inner)}]`;
}

const LINE_ENDS = '\\n\\r\\x{2028}\\x{2029}';
const EVERYTHING = '\\x{0}-\\x{10FFFF}';
// ECMA-262, WhiteSpace and LineTerminator, and everything else.
const SPACES =
  '\\x{9}-\\x{D}\\x{20}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}\\x{FEFF}';
const NO_SPACES =
  '\\x{0}-\\x{8}\\x{E}-\\x{1F}\\x{21}-\\x{9F}\\x{A1}-\\x{167F}\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}\\x{202A}-\\x{202E}' +
  '\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{FEFE}\\x{FF00}-\\x{10FFFF}';

const ELEMENT =
  /\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u\{[^}]*\}|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\c[A-Za-z]|\\[pP]\{[^}]*\}|\\[\s\S]|[\s\S]/gu;

function formatElements(inner: string): string {
  const elements = inner.match(ELEMENT) ?? [];
  let written = '';
  for (let at = 0; at < elements.length; at++) {
    const element = elements[at] ?? '';
    const last = elements[at + 2];
    if (elements[at + 1] === '-' && last !== undefined) {
      written += `${formatElement(element)}-${formatElement(last)}`;
      at += 2;
    } else written += formatElement(element);
  }
  return written;
}

/** One escape or character, as it stands between brackets. */
function formatElement(element: string): string {
  if (!element.startsWith('\\')) return hex(element.codePointAt(0) ?? 0);
  const letter = element[1] ?? '';
  switch (letter) {
    case 'd':
    case 'D':
    case 'w':
    case 'W':
      return element;
    case 's':
      return SPACES;
    case 'S':
      return NO_SPACES;
    case 'p':
    case 'P':
      return formatProperty(element);
    case 'u':
      return hex(unicodeEscape(element.slice(2)));
    case 'x':
      return hex(Number.parseInt(element.slice(2), 16));
    case 'c':
      return hex((element.codePointAt(2) ?? 0) % 32);
    default:
      return hex(CONTROL[letter] ?? element.codePointAt(1) ?? 0);
  }
}

/** `\b` is a backspace only between brackets; elsewhere it is no atom. */
const CONTROL: Record<string, number> = { 0: 0, b: 8, t: 9, n: 10, v: 11, f: 12, r: 13 };

function unicodeEscape(digits: string): number {
  if (digits.startsWith('{')) return Number.parseInt(digits.slice(1, -1), 16);
  const [high, low] = digits.split('\\u').map((half) => Number.parseInt(half, 16));
  return low === undefined ? (high ?? 0) : String.fromCharCode(high ?? 0, low).codePointAt(0)!;
}

function hex(codePoint: number): string {
  return `\\x{${codePoint.toString(16)}}`;
}

/** RE2 has most properties, by their short names. */
function formatProperty(element: string): string {
  const name = element.slice(3, -1).replace(/^(gc|General_Category|sc|Script)=/, '');
  return `\\${element[1]}{${CATEGORIES[name] ?? name}}`;
}

/** Unicode's long names of the general categories (PropertyValueAliases.txt). */
const CATEGORIES: Record<string, string> = {
  Letter: 'L',
  Cased_Letter: 'LC',
  Uppercase_Letter: 'Lu',
  Lowercase_Letter: 'Ll',
  Titlecase_Letter: 'Lt',
  Modifier_Letter: 'Lm',
  Other_Letter: 'Lo',
  Mark: 'M',
  Combining_Mark: 'M',
  Nonspacing_Mark: 'Mn',
  Spacing_Mark: 'Mc',
  Enclosing_Mark: 'Me',
  Number: 'N',
  Decimal_Number: 'Nd',
  digit: 'Nd',
  Letter_Number: 'Nl',
  Other_Number: 'No',
  Punctuation: 'P',
  punct: 'P',
  Connector_Punctuation: 'Pc',
  Dash_Punctuation: 'Pd',
  Open_Punctuation: 'Ps',
  Close_Punctuation: 'Pe',
  Initial_Punctuation: 'Pi',
  Final_Punctuation: 'Pf',
  Other_Punctuation: 'Po',
  Symbol: 'S',
  Math_Symbol: 'Sm',
  Currency_Symbol: 'Sc',
  Modifier_Symbol: 'Sk',
  Other_Symbol: 'So',
  Separator: 'Z',
  Space_Separator: 'Zs',
  Line_Separator: 'Zl',
  Paragraph_Separator: 'Zp',
  Other: 'C',
  Control: 'Cc',
  cntrl: 'Cc',
  Format: 'Cf',
  Private_Use: 'Co',
  Surrogate: 'Cs',
  Unassigned: 'Cn',
};
