/**
 * An array as PostgreSQL writes one, `{…}`, for a parameter of an array type. Building the text here costs half
 * of what the driver's own quoting does. Only for what needs no quotes: ids, numbers, times, booleans.
 */
export function arrayLiteral<Row>(
  rows: readonly Row[],
  column: (row: Row) => string | number | bigint | null,
): string {
  let text = '{';
  for (let index = 0; index < rows.length; index += 1) {
    if (index > 0) text += ',';
    text += column(rows[index] as Row) ?? 'NULL';
  }
  return `${text}}`;
}
