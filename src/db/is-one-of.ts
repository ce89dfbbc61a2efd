import { sql, type Column, type SQL } from 'drizzle-orm';

/**
 * True where the column's value is one of these numbers, however many there are: as one parameter, where `inArray`
 * makes one of each and a statement may have 65,535.
 */
export function isOneOf(column: Column, values: readonly bigint[]): SQL {
  return sql`${column} = ANY (${sql.param(values.map(String))}::bigint[])`;
}
