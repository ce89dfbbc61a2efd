import { readFileSync } from 'node:fs';
import pg from 'pg';
import { silentLog } from '../../src/base/log.ts';
import { migrate } from '../../src/db/migrate.ts';

export type BenchDatabase = {
  url: string;
  /** CPU microseconds of the server's processes that work for the ledger and the pool of this database. */
  cpuMicros(): Promise<number>;
  drop(): Promise<void>;
};

const MICROS_PER_TICK = 10_000;

/** A new, migrated database on `DATABASE_URL` or the local server. */
export async function createBenchDatabase(): Promise<BenchDatabase> {
  const base = process.env['DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres';
  const name = `sentinel_bench_${process.pid}_${Date.now()}`;
  const admin = new pg.Client({ connectionString: base });
  await admin.connect();
  await admin.query(`CREATE DATABASE ${name}`);
  const url = new URL(base);
  url.pathname = `/${name}`;
  await migrate(url.href, silentLog);
  return {
    url: url.href,
    cpuMicros: async () => {
      const { rows } = await admin.query<{ pid: number }>(
        'SELECT pid FROM pg_stat_activity WHERE datname = $1',
        [name],
      );
      return rows.reduce((sum, { pid }) => sum + processCpuMicros(pid), 0);
    },
    drop: async () => {
      await admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      await admin.end();
    },
  };
}

/** User and system time of a process on this machine, from Linux's own account of it; elsewhere 0. */
function processCpuMicros(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) * MICROS_PER_TICK;
  } catch {
    return 0;
  }
}
