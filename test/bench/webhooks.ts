import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { openDatabase } from '../../src/db/db.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { openWebhooks } from '../../src/webhooks/deps.ts';
import { dispatchWebhooks } from '../../src/webhooks/dispatch.ts';
import { insertEndpoint } from '../../src/webhooks/endpoints.ts';
import { createBenchDatabase } from './bench-database.ts';
import { startChild } from './child.ts';
import { median, type Figure } from './report.ts';

const EVENTS = 10_000;

type Round = { perSecond: number; nodeMicros: number; serverMicros: number };

/** How fast an outbox drains: told, signed, sent to a receiver in a process of its own, and noted. */
export async function measureWebhooks(options: { rounds: number }): Promise<Figure[]> {
  const one = await measureDrains(1, options.rounds);
  const many = await measureDrains(100, options.rounds);
  return [
    {
      name: 'webhook deliveries per second, one endpoint',
      value: one.perSecond,
      goal: { least: 500 },
      unit: '/s',
    },
    {
      name: 'webhook deliveries per second, 100 endpoints',
      value: many.perSecond,
      goal: { least: 500 },
      unit: '/s',
    },
    { name: 'gateway CPU per webhook delivery', value: many.nodeMicros, unit: 'µs' },
    { name: 'PostgreSQL CPU per webhook delivery', value: many.serverMicros, unit: 'µs' },
  ];
}

async function measureDrains(endpoints: number, rounds: number): Promise<Round> {
  const database = await createBenchDatabase();
  const connection = openDatabase(database.url, { log: silentLog, maxConnections: 10 });
  const receiver = await startChild('webhook-receiver');
  const webhooks = openWebhooks({
    db: connection.db,
    allowEndpoint: () => true,
    clock: systemClock,
    log: silentLog,
  });
  const measured: Round[] = [];
  try {
    for (let n = 0; n < endpoints; n += 1) {
      await connection.db.transaction(async (tx) => {
        const { id: organizationId } = await insertOrganization(tx, `listener ${n}`);
        const wish = { url: receiver.url, description: '', eventTypes: [] };
        await insertEndpoint(tx, { organizationId, currency: 'live' }, wish);
      });
    }
    for (let round = 0; round < rounds; round += 1) {
      await connection.pool.query(
        `INSERT INTO events (id, organization_id, currency, type, data)
         SELECT gen_random_uuid(), organizations[1 + n % cardinality(organizations)], 'live', 'credits.loaded',
           json_build_object('amount', n::text)
         FROM generate_series(1, $1) AS n, (SELECT array_agg(id) AS organizations FROM organizations) AS o`,
        [EVENTS],
      );
      const serverBefore = await database.cpuMicros();
      const before = process.cpuUsage();
      const start = performance.now();
      while ((await countLeft(connection.pool)) > 0) await dispatchWebhooks(webhooks);
      const elapsed = (performance.now() - start) / 1_000;
      const { user, system } = process.cpuUsage(before);
      measured.push({
        perSecond: EVENTS / elapsed,
        nodeMicros: (user + system) / EVENTS,
        serverMicros: ((await database.cpuMicros()) - serverBefore) / EVENTS,
      });
    }
    await assertDelivered(connection.pool, EVENTS * rounds);
  } finally {
    await webhooks.close();
    await connection.close();
    await receiver.stop();
    await database.drop();
  }
  const of = (figure: keyof Round): number => median(measured.map((round) => round[figure]));
  return { perSecond: of('perSecond'), nodeMicros: of('nodeMicros'), serverMicros: of('serverMicros') };
}

type Pool = ReturnType<typeof openDatabase>['pool'];

async function countLeft(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ count: string }>(
    `SELECT (SELECT count(*) FROM events WHERE fanned_out_at IS NULL)
       + (SELECT count(*) FROM webhook_deliveries WHERE status = 'pending') AS count`,
  );
  return Number(rows[0]?.count);
}

/** A figure for what did not arrive would be worth nothing. */
async function assertDelivered(pool: Pool, expected: number): Promise<void> {
  const { rows } = await pool.query<{ count: string }>(
    `SELECT count(*) FROM webhook_deliveries d JOIN webhook_attempts a ON a.delivery_id = d.id
     WHERE d.status = 'delivered' AND a.status = 204`,
  );
  if (Number(rows[0]?.count) !== expected)
    throw new Error(`${rows[0]?.count} of ${expected} were delivered once`);
}
