import { writeFile } from 'node:fs/promises';
import pg from 'pg';
import { createTestDatabase } from '../support/database.ts';
import { readSchemaText } from '../support/schema-text.ts';

/* Writes migrations/current.sql anew, from a database that all migrations have run on. */

const database = await createTestDatabase();
const client = new pg.Client({ connectionString: database.url });
await client.connect();
await writeFile(new URL('../../migrations/current.sql', import.meta.url), await readSchemaText(client));
await client.end();
await database.close();
