import { sql } from 'drizzle-orm';
import { databaseNow, databaseNowPlus } from '../db/database-clock.ts';
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
  organizationId: string;
  eventId: string;
  payload: string;
  /** Those before. */
  attempts: number;
  url: string;
  secret: string;
  /** Signs as well. */
  previousSecret: string | null;
  /** By the database's clock. */
  leasedUntil: Date;
  /** What our own said before it was asked for: a moment no later than the one the lease began. */
  askedElapsed: number;
};

/**
 * Takes deliveries that are due, for each endpoint as many as it and its organization have room for. The
 * endpoints are found by skipping along the index from one to the next, so a long queue for one costs the others
 * nothing, and they are visited in no order, so none is always last.
 */
export async function claimDue({ db, flights, clock }: WebhookDeps): Promise<Claimed[]> {
  const room = flights.room();
  if (room <= 0) return [];
  const rooms = [...flights.rooms()];
  const organizationRooms = [...flights.organizationRooms()];
  const askedElapsed = clock.elapsed();
  const { rows } = await db.execute<
    Omit<Claimed, 'leasedUntil' | 'askedElapsed'> & { leasedUntil: string }
  >(sql`
    WITH RECURSIVE waiting (endpoint_id) AS (
      (SELECT endpoint_id FROM webhook_deliveries WHERE status = 'pending' ORDER BY endpoint_id LIMIT 1)
      UNION ALL
      SELECT (
        SELECT d.endpoint_id FROM webhook_deliveries d
        WHERE d.status = 'pending' AND d.endpoint_id > w.endpoint_id ORDER BY d.endpoint_id LIMIT 1)
      FROM waiting w WHERE w.endpoint_id IS NOT NULL
    ), visited AS (
      SELECT e.*, coalesce(busy.room, ${flights.defaultRoom}::int) AS room,
        coalesce(share.room, ${flights.defaultOrganizationRoom}::int) AS share,
        sum(coalesce(busy.room, ${flights.defaultRoom}::int)) OVER (PARTITION BY e.organization_id) AS wanted
      FROM waiting w
      JOIN webhook_endpoints e ON e.id = w.endpoint_id AND NOT e.is_disabled
      LEFT JOIN unnest(
        ${sql.param(rooms.map(([endpointId]) => endpointId))}::uuid[], ${sql.param(rooms.map(([, left]) => left))}::int[]
      ) AS busy (endpoint_id, room) ON busy.endpoint_id = e.id
      LEFT JOIN unnest(
        ${sql.param(organizationRooms.map(([id]) => id))}::text[], ${sql.param(organizationRooms.map(([, left]) => left))}::int[]
      ) AS share (organization_id, room) ON share.organization_id = e.organization_id
    ), counted AS MATERIALIZED (
      -- What is due is counted only where the share could be too small for all of them.
      SELECT v.*, CASE WHEN v.wanted <= v.share THEN v.room ELSE (
        SELECT count(*) FROM (
          SELECT FROM webhook_deliveries d
          WHERE d.endpoint_id = v.id AND d.status = 'pending' AND d.next_attempt_at <= ${databaseNow}
            AND (d.leased_until IS NULL OR d.leased_until <= ${databaseNow})
          -- In the order of the index, which is left as soon as there is no more room.
          ORDER BY d.next_attempt_at LIMIT v.room
        ) one
      ) END AS due
      FROM visited v
    ), open AS MATERIALIZED (
      SELECT c.id, c.organization_id, c.url, c.secret,
        -- What those visited before it leave of its organization's share.
        least(c.due, greatest(0, c.share + c.due
          - sum(c.due) OVER (PARTITION BY c.organization_id ORDER BY random() ROWS UNBOUNDED PRECEDING)
        ))::int AS room,
        CASE WHEN c.previous_secret_expires_at > ${databaseNow} THEN c.previous_secret END AS previous_secret
      FROM counted c
      ORDER BY random()
    ), claimed AS MATERIALIZED (
      SELECT due.id FROM open CROSS JOIN LATERAL (
        SELECT d.id FROM webhook_deliveries d
        WHERE d.endpoint_id = open.id AND d.status = 'pending' AND d.next_attempt_at <= ${databaseNow}
          AND (d.leased_until IS NULL OR d.leased_until <= ${databaseNow})
        ORDER BY d.next_attempt_at LIMIT open.room FOR UPDATE SKIP LOCKED
      ) due
      LIMIT ${room}
    )
    UPDATE webhook_deliveries d SET leased_until = ${databaseNowPlus(LEASE_MS)}
    FROM claimed, open
    WHERE d.id = claimed.id AND open.id = d.endpoint_id
    RETURNING d.id, d.endpoint_id AS "endpointId", open.organization_id AS "organizationId",
      d.event_id AS "eventId", d.payload::text AS payload, d.attempts,
      open.url, open.secret, open.previous_secret AS "previousSecret",
      d.leased_until AS "leasedUntil"`);
  return rows.map((row) => ({ ...row, leasedUntil: new Date(row.leasedUntil), askedElapsed }));
}
