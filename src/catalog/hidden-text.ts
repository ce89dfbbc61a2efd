// Control, format (zero-width, bidi, tag), private-use and surrogate characters, line and paragraph separators,
// variation selectors, and the letters that draw nothing. People do not see them; models read them.
const HIDDEN =
  /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}\u115F\u1160\u3164\uFFA0]|\p{Variation_Selector}|\u034F|[\u17B4\u17B5]/u;

/**
 * Why a text for people and models is refused, or undefined. What a buyer approves must be what the model
 * reads, so nothing invisible may stand in it.
 */
export function findHiddenText(text: string, options: { lines: boolean }): string | undefined {
  const visible = options.lines ? text.replaceAll(/[\n\t]|\r\n/g, ' ') : text;
  const hidden = HIDDEN.exec(visible)?.[0];
  if (hidden !== undefined) {
    const codePoint = (hidden.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
    return `contains the invisible or control character U+${codePoint}; remove it`;
  }
  if (text.includes('<!--')) return 'contains an HTML comment, which people do not see; remove it';
  return undefined;
}
