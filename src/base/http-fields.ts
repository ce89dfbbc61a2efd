/**
 * What the fields of an HTTP head say (RFC 9110): one place to read each kind of value that comes from outside. A
 * field that came more than once is its values joined by commas.
 */

/** Blanks around a value are not part of it (section 5.5), and some HTTP parsers leave those after it. */
export function trimBlanks(value: string): string {
  let start = 0;
  let end = value.length;
  // Not by a pattern: one that is anchored at the end tries again at every blank.
  while (start < end && isBlank(value, start)) start += 1;
  while (end > start && isBlank(value, end - 1)) end -= 1;
  return value.slice(start, end);
}

/** The members of a list, without the empty ones (section 5.6.1); a comma within quotes parts nothing. */
export function splitList(value: string): string[] {
  return splitOutsideQuotes(value, ',').filter((member) => member !== '');
}

/** `text/plain; charset="UTF-8"`: names and types in small letters, values as they are, quotes taken off. */
export type MediaType = { type: string; parameters: ReadonlyMap<string, string> };

/** Section 8.3.1; undefined for what is no media type, and for two of them. */
export function parseMediaType(value: string): MediaType | undefined {
  const [type = '', ...rest] = splitOutsideQuotes(value, ';');
  if (!MEDIA_TYPE.test(type)) return undefined;
  const parameters = new Map<string, string>();
  for (const parameter of rest) {
    // Senders that end the value with a semicolon are many, and mean nothing by it.
    if (parameter === '') continue;
    const [, name, token, quoted] = PARAMETER.exec(parameter) ?? [];
    if (name === undefined) return undefined;
    parameters.set(name.toLowerCase(), token ?? quoted?.replaceAll(/\\(.)/g, '$1') ?? '');
  }
  return { type: type.toLowerCase(), parameters };
}

/** JSON, in the only encoding it has (RFC 8259 section 8.1). Other parameters mean nothing to JSON. */
export function isJsonInUtf8(contentType: string): boolean {
  const media = parseMediaType(contentType);
  return media?.type === 'application/json' && /^utf-?8$/i.test(media.parameters.get('charset') ?? 'utf-8');
}

/** How a body is coded, beside not at all (section 8.4); in small letters. */
export function contentCodings(contentEncoding: string | undefined): string[] {
  const codings = splitList(contentEncoding ?? '').map((coding) => coding.toLowerCase());
  return codings.filter((coding) => coding !== 'identity');
}

/** What is told to whoever sends a coded body: what is small on the wire and large in memory is not taken. */
export function explainCoding(coding: string): string {
  return `The body is encoded as ${JSON.stringify(coding.slice(0, 40))}. Send it as it is, without Content-Encoding.`;
}

/** The token of `Bearer <token>`, the scheme in any letters (section 11.1); undefined for anything else. */
export function parseBearer(authorization: string): string | undefined {
  const value = trimBlanks(authorization);
  const [scheme = ''] = value.split(' ', 1);
  const token = value.slice(scheme.length).replace(/^ +/, '');
  return scheme.toLowerCase() === 'bearer' && /^[^\s,]+$/.test(token) ? token : undefined;
}

/**
 * How long `Retry-After` asks to wait, in whichever of its two forms (section 10.2.3); undefined where it says
 * neither. A moment that has passed asks for nothing.
 */
export function parseRetryAfterMs(value: string, nowMs: number): number | undefined {
  const text = trimBlanks(value);
  if (/^[0-9]+$/.test(text)) return Math.min(Number(text) * 1_000, MAX_WAIT_MS);
  // Date.parse reads much that is no date of HTTP, a bare `-5` among it.
  const at = /^[A-Za-z]+,? .* GMT$|^[A-Za-z]{3} [A-Za-z]{3} .* [0-9]{4}$/.test(text)
    ? Date.parse(text.endsWith('GMT') ? text : `${text} GMT`)
    : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.min(Math.max(at - nowMs, 0), MAX_WAIT_MS);
}

const TOKEN = String.raw`[!#$%&'*+\-.^_\`|~0-9A-Za-z]+`;
const MEDIA_TYPE = new RegExp(`^${TOKEN}/${TOKEN}$`);
const PARAMETER = new RegExp(String.raw`^(${TOKEN})=(?:(${TOKEN})|"((?:[^"\\]|\\.)*)")$`);
const MAX_WAIT_MS = 24 * 60 * 60_000;

function isBlank(text: string, at: number): boolean {
  return text[at] === ' ' || text[at] === '\t';
}

function splitOutsideQuotes(value: string, separator: ',' | ';'): string[] {
  if (!value.includes('"')) return value.split(separator).map(trimBlanks);
  const parts: string[] = [];
  let start = 0;
  let isQuoted = false;
  for (let at = 0; at < value.length; at += 1) {
    const character = value[at];
    if (isQuoted && character === '\\') at += 1;
    else if (character === '"') isQuoted = !isQuoted;
    else if (character === separator && !isQuoted) {
      parts.push(value.slice(start, at));
      start = at + 1;
    }
  }
  return [...parts, value.slice(start)].map(trimBlanks);
}
