import { sql } from 'drizzle-orm';
import type { WebhookDeps } from './deps.ts';

/**
 * How long a delivery is one process's own. When that dies, it is anyone's again; nothing is sent so late that
 * two could be sending.
 */
export const LEASE_MS = 60_000;

/** A delivery that this process may send until its lease ends. */
export type Claimed = {
  id: string;
  endpointId: string;
  eventId: string;
  payload: string;
  /** Those before. */
  attempts: number;
  url: string;
  secret: string;
  /** Signs as well. */
  previousSecret: string | null;
  leasedUntil: Date;
};

/**
 * Takes deliveries that are due, for each endpoint as many as it has room for. The endpoints are found by
 * skipping along the index from one to the next, so a long queue for one costs the others nothing, and they
 * are visited in no order, so none is always last.
 */
export async function claimDue({ db, flights, clock }: WebhookDeps): Promise<Claimed[]> {
  const room = flights.room();
  if (room <= 0) return [];
  const rooms = [...flights.rooms()];
  const now = new Date(clock.now());
  const leasedUntil = new Date(clock.now() + LEASE_MS);
  const { rows } = await db.execute<Omit<Claimed, 'leasedUntil'>>(sql`
    WITH RECURSIVE waiting (endpoint_id) AS (
      (SELECT endpoint_id FROM webhook_deliveries WHERE status = 'pending' ORDER BY endpoint_id LIMIT 1)
      UNION ALL
      SELECT (
        SELECT d.endpoint_id FROM webhook_deliveries d
        WHERE d.status = 'pending' AND d.endpoint_id > w.endpoint_id ORDER BY d.endpoint_id LIMIT 1)
      FROM waiting w WHERE w.endpoint_id IS NOT NULL
    ), open AS MATERIALIZED (
      SELECT e.id, e.url, e.secret, coalesce(busy.room, ${flights.defaultRoom}::int) AS room,
        CASE WHEN e.previous_secret_expires_at > ${now} THEN e.previous_secret END AS previous_secret
      FROM waiting w
      JOIN webhook_endpoints e ON e.id = w.endpoint_id AND NOT e.is_disabled
      LEFT JOIN unnest(
        ${sql.param(rooms.map(([endpointId]) => endpointId))}::uuid[], ${sql.param(rooms.map(([, left]) => left))}::int[]
      ) AS busy (endpoint_id, room) ON busy.endpoint_id = e.id
      ORDER BY random()
    ), claimed AS MATERIALIZED (
      SELECT due.id FROM open CROSS JOIN LATERAL (
        SELECT d.id FROM webhook_deliveries d
        WHERE d.endpoint_id = open.id AND d.status = 'pending' AND d.next_attempt_at <= ${now}
          AND (d.leased_until IS NULL OR d.leased_until <= ${now})
        ORDER BY d.next_attempt_at LIMIT open.room FOR UPDATE SKIP LOCKED
      ) due
      LIMIT ${room}
    )
    UPDATE webhook_deliveries d SET leased_until = ${leasedUntil}
    FROM claimed, open
    WHERE d.id = claimed.id AND open.id = d.endpoint_id
    RETURNING d.id, d.endpoint_id AS "endpointId", d.event_id AS "eventId", d.payload::text AS payload, d.attempts,
      open.url, open.secret, open.previous_secret AS "previousSecret"`);
  return rows.map((row) => ({ ...row, leasedUntil }));
}
