import { buildConnector, Pool } from 'undici';
import { checkEndpointUrl, guardLookup } from './address-guard.ts';
import type { EndpointRules, Resolve } from './address-guard.ts';
import { failureOf } from './exchange-failure.ts';

/** Where a request goes, worked out once per endpoint. */
export type Target = {
  /** The URL as it is requested and signed. */
  href: string;
  /** Path and query. */
  path: string;
  pool: Pool;
};

export type Pools = {
  /** The target of an endpoint, or why it may not be called. */
  find(url: string): { kind: 'ok'; target: Target } | { kind: 'refused'; reason: string };
  /** Connects to the endpoint and closes the connection again; why it could not, in public words. */
  tryConnection(url: string): Promise<string | undefined>;
  /** Closes the pools that are idle and were not asked for since the sweep before this one. */
  sweep(): void;
  /** Destroys every connection: requests under way fail. */
  close(): Promise<void>;
  /** How many origins have a pool. */
  size(): number;
};

export type PoolOptions = EndpointRules & {
  maxConnectionsPerOrigin: number;
  connectTimeoutMs: number;
  sweepEveryMs: number;
  resolve?: Resolve | undefined;
};

/** One pool of keep-alive connections per origin. */
export function createPools(options: PoolOptions): Pools {
  type Entry = { pool: Pool; used: boolean; targets: string[] };
  const entries = new Map<string, Entry>();
  const targets = new Map<string, { target: Target; entry: Entry; url: URL; isAllowed: boolean }>();
  let sweeper: NodeJS.Timeout | undefined;

  function find(url: string): ReturnType<Pools['find']> {
    const known = targets.get(url);
    // The operator's permission is asked every time: taking it back works at once.
    if (known && (!known.isAllowed || options.allowEndpoint?.(known.url))) {
      known.entry.used = true;
      return { kind: 'ok', target: known.target };
    }
    targets.delete(url);
    const verdict = checkEndpointUrl(url, options);
    return verdict.kind === 'ok' ? { kind: 'ok', target: addTarget(url, verdict.url) } : verdict;
  }

  function addTarget(text: string, url: URL): Target {
    const isAllowed = options.allowEndpoint?.(url) ?? false;
    // An allowed endpoint connects unguarded, so it never shares connections with one that is not allowed.
    const entry = findEntry(`${isAllowed ? 'allowed' : 'guarded'} ${url.origin}`, url.origin, isAllowed);
    const target = { href: url.href, path: url.pathname + url.search, pool: entry.pool };
    targets.set(text, { target, entry, url, isAllowed });
    entry.targets.push(text);
    return target;
  }

  function findEntry(key: string, origin: string, isAllowed: boolean): Entry {
    const known = entries.get(key);
    if (known) {
      known.used = true;
      return known;
    }
    const pool = new Pool(origin, {
      connections: options.maxConnectionsPerOrigin,
      // One call, one connection: a slow answer delays nobody behind it, and cancelling closes the socket.
      pipelining: 1,
      allowH2: false,
      // The call's own deadline bounds headers and body together.
      headersTimeout: 0,
      bodyTimeout: 0,
      // keepAliveTimeout stays at undici's 4 s: servers that give no hint close idle connections after as
      // little as 5 s, and a request that crosses such a close is lost, not repeated.
      connect: connectOptions(isAllowed),
    });
    const entry: Entry = { pool, used: true, targets: [] };
    entries.set(key, entry);
    sweeper ??= setInterval(sweep, options.sweepEveryMs).unref();
    return entry;
  }

  function connectOptions(isAllowed: boolean) {
    return {
      timeout: options.connectTimeoutMs,
      ...(isAllowed ? {} : { lookup: guardLookup(options.resolve) }),
    };
  }

  async function tryConnection(text: string): Promise<string | undefined> {
    const verdict = checkEndpointUrl(text, options);
    if (verdict.kind === 'refused') return verdict.reason;
    const { url } = verdict;
    const connect = buildConnector({
      ...connectOptions(options.allowEndpoint?.(url) ?? false),
      allowH2: false,
    });
    const { hostname, host, protocol, port } = url;
    return new Promise((resolve) => {
      connect({ hostname: hostname.replace(/^\[|\]$/g, ''), host, protocol, port }, (error, socket) => {
        socket?.destroy();
        resolve(error ? failureOf(error).detail : undefined);
      });
    });
  }

  function sweep(): void {
    for (const [key, entry] of entries) {
      const isIdle = !entry.used && entry.pool.stats.size === 0;
      entry.used = false;
      if (!isIdle) continue;
      entries.delete(key);
      for (const url of entry.targets) targets.delete(url);
      void entry.pool.close();
    }
    if (entries.size === 0) stopSweeper();
  }

  function stopSweeper(): void {
    clearInterval(sweeper);
    sweeper = undefined;
  }

  async function close(): Promise<void> {
    stopSweeper();
    const pools = [...entries.values()].map(({ pool }) => pool);
    entries.clear();
    targets.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }

  return { find, tryConnection, sweep, close, size: () => entries.size };
}
