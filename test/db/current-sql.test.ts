import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import pg from 'pg';
import { createTestDatabase } from '../support/database.ts';
import { readSchemaText } from '../support/schema-text.ts';

test('migrations/current.sql is what the migrations add up to', async () => {
  const database = await createTestDatabase();
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    const written = await readFile(new URL('../../migrations/current.sql', import.meta.url), 'utf8');
    assert.equal(written, await readSchemaText(client), 'npm run db:current writes it anew');
  } finally {
    await client.end();
    await database.close();
  }
});
