import pg from 'pg';
import type { Log } from '../base/log.ts';

/** Every process that shares the database hears what changed, through this one PostgreSQL channel. */
export const CHANGES_CHANNEL = 'sentinel_changes';
const RETRY_MS = 500;

export type Change = { kind: (typeof CHANGE_KINDS)[number]; id: string };

const CHANGE_KINDS = ['agent', 'key', 'credits', 'handover'] as const;

export type ChangeFeed = {
  /** False while the connection is down: what is cached may be stale, so caches must not be trusted. */
  isLive(): boolean;
  close(): Promise<void>;
};

/**
 * Listens for changes other processes (or this one) committed. PostgreSQL delivers a notification when the
 * transaction that sent it commits, so a listener that reads after hearing it sees the new state. What
 * was said while the connection was down is lost: `onReconnect` must reload everything.
 */
export async function listenForChanges(
  url: string,
  handlers: { onChange(change: Change): void; onReconnect(): void; log: Log },
): Promise<ChangeFeed> {
  let client: pg.Client | undefined;
  let closed = false;
  let retry: NodeJS.Timeout | undefined;

  async function connect(): Promise<void> {
    const fresh = new pg.Client({
      connectionString: url,
      keepAlive: true,
      application_name: 'sentinel listen',
      connectionTimeoutMillis: 5_000,
    });
    fresh.on('error', () => lose(fresh));
    fresh.on('end', () => lose(fresh));
    fresh.on('notification', ({ payload }) => {
      const change = parseChange(payload ?? '');
      if (change) handlers.onChange(change);
    });
    try {
      await fresh.connect();
      await fresh.query(`LISTEN ${CHANGES_CHANNEL}`);
    } catch (error) {
      fresh.end().catch(() => {});
      throw error;
    }
    client = fresh;
  }

  function lose(lost: pg.Client): void {
    if (closed || client !== lost) return;
    client = undefined;
    handlers.log('warn', 'the change feed broke; caches are off until it is back');
    scheduleRetry();
  }

  function scheduleRetry(): void {
    retry = setTimeout(() => {
      connect().then(handlers.onReconnect, () => {
        if (!closed) scheduleRetry();
      });
    }, RETRY_MS);
    retry.unref();
  }

  await connect();
  return {
    isLive: () => client !== undefined,
    close: async () => {
      closed = true;
      clearTimeout(retry);
      await client?.end();
    },
  };
}

function parseChange(payload: string): Change | undefined {
  const colon = payload.indexOf(':');
  const kind = CHANGE_KINDS.find((known) => known === payload.slice(0, colon));
  const id = payload.slice(colon + 1);
  return kind && { kind, id };
}
