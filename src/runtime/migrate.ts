import type { Log } from '../base/log.ts';
import { openDataDirectory } from '../db/data-directory.ts';
import { startEmbeddedPostgres } from '../db/embedded-postgres.ts';
import { migrate } from '../db/migrate.ts';
import type { Config } from './config.ts';

/** Brings the configured database up to date, starting the embedded one for as long as that takes. */
export async function migrateOnce(config: Config, log: Log): Promise<{ applied: number }> {
  if (config.databaseUrl !== undefined) return migrate(config.databaseUrl, log);
  const dataDir = await openDataDirectory(config.dataDirectory);
  try {
    const postgres = await startEmbeddedPostgres({ dataDir, log });
    try {
      return await migrate(postgres.url, log);
    } finally {
      await postgres.stop();
    }
  } finally {
    await dataDir.release();
  }
}
