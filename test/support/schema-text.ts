import type pg from 'pg';

/**
 * What the migrations add up to: every function, type, trigger and constraint as PostgreSQL prints it, in the order of
 * their names. Columns and indexes are in the newest snapshot of drizzle-kit.
 */
export async function readSchemaText(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ text: string }>(`
    WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname = 'public')
    SELECT text FROM (
      SELECT 1 AS part, t.typname AS name, format(E'CREATE TYPE %I AS (%s);', t.typname,
          (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
           FROM pg_attribute a WHERE a.attrelid = t.typrelid)) AS text
        FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
        WHERE t.typnamespace = (SELECT oid FROM ours)
      UNION ALL
      SELECT 2, p.oid::regprocedure::text, format(E'%s;', rtrim(pg_get_functiondef(p.oid), E'\\n'))
        FROM pg_proc p WHERE p.pronamespace = (SELECT oid FROM ours) AND p.prokind = 'f'
      UNION ALL
      SELECT 3, c.relname || ' ' || t.tgname, format('%s;', pg_get_triggerdef(t.oid))
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = (SELECT oid FROM ours) AND NOT t.tgisinternal
      UNION ALL
      -- NOT NULL is a constraint of its own from PostgreSQL 18 on; columns are not told here.
      SELECT 4, c.relname || ' ' || k.conname,
          format(E'ALTER TABLE %I ADD CONSTRAINT %I %s;', c.relname, k.conname, pg_get_constraintdef(k.oid))
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        WHERE k.connamespace = (SELECT oid FROM ours) AND k.contype IN ('c', 'u', 'p', 'f', 'x')
    ) all_of_it
    ORDER BY part, name COLLATE "C"`);
  return `-- What the migrations add up to, written by \`npm run db:current\`. Nothing runs this file.\n\n${rows
    .map(({ text }) => text)
    .join('\n\n')}\n`;
}
