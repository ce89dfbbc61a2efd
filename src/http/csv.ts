/**
 * Rows as CSV (RFC 4180). A spreadsheet runs a cell that begins like a formula, and names and descriptions
 * come from strangers: such a cell gets an apostrophe in front. Plain numbers stay numbers.
 */
export function formatCsv(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  return formatCsvRows([columns, ...rows]);
}

/** The same for rows that follow others, without a heading. */
export function formatCsvRows(rows: readonly (readonly string[])[]): string {
  return rows.map((row) => `${row.map(formatCell).join(',')}\r\n`).join('');
}

// Some spreadsheets take the full-width forms of = + - @ for the plain ones, and skip blanks in front.
const FORMULA = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/;
const NUMBER = /^-?[0-9]+(\.[0-9]+)?$/;
// A semicolon or a tab begins the next cell where one of them and not the comma separates cells.
const NEEDS_QUOTES = /[",;\t\r\n]/;

function formatCell(text: string): string {
  const safe = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
  return NEEDS_QUOTES.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
