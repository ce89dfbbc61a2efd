import type { Log } from '../base/log.ts';
import type { Clock } from '../base/clock.ts';
import type { Sign } from '../base/signer.ts';
import { openDatabase, type Database } from '../db/db.ts';
import { listenForChanges, type Change, type ChangeFeed } from '../db/listen.ts';
import { watchDatabaseClock, type WatchedClock } from '../db/watch-database-clock.ts';
import type { Gate } from '../governance/gate.ts';
import { createMemoryGate } from '../governance/memory-gate.ts';
import { createRedisGate } from '../governance/redis-gate.ts';
import { createSigner } from '../identity/signer.ts';
import { readSigningKey, type SigningKey } from '../identity/signing-key.ts';
import { createLedger, type Ledger } from '../ledger/ledger.ts';
import { createUpstream } from '../upstream/node-upstream.ts';
import { createRequestSigner } from '../upstream/signature.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { LIMITS } from './config.ts';

/** What a gateway needs from the runtime it lives in: everything that differs between runtimes by nature. */
export type Parts = {
  database: Database;
  /** The one queue behind which holds are placed and resolved. */
  ledger: Ledger;
  gate: Gate;
  upstream: Upstream;
  /** The Ed25519 key that requests, receipts and proofs are signed with. */
  key: Pick<SigningKey, 'keyId' | 'publicJwk'> & { sign: Sign };
  /** The database's time, told without asking. */
  clock: WatchedClock;
  /** Hears what other processes change, as long as the feed lives. */
  listen(ear: ChangeEar): Promise<ChangeFeed>;
};

export type ChangeEar = {
  onChange(change: Change): void;
  /** What was said while the feed was down is lost: everything is to be read again. */
  onReconnect(): void;
};

export type NodePartsOptions = {
  databaseUrl: string;
  redisUrl?: string | undefined;
  /** Where our keys in Redis live; tests use their own. */
  redisPrefix?: string | undefined;
  signingKeyPem: string;
  /** True for an endpoint on a private address that the operator vouches for. */
  allowEndpoint: (url: URL) => boolean;
  log: Log;
  maxConnections?: number;
};

/** PostgreSQL and Redis over sockets, agents over undici, signatures on a thread of their own. */
export async function openNodeParts(options: NodePartsOptions): Promise<Parts> {
  const { databaseUrl, log } = options;
  const database = openDatabase(databaseUrl, {
    log,
    maxConnections: options.maxConnections ?? LIMITS.databaseConnections,
  });
  const clock = await watchDatabaseClock(database, { log });
  const { keyId, publicJwk, privateKey } = readSigningKey(options.signingKeyPem);
  const sign = createSigner(privateKey);
  const upstream = createUpstream({
    allowEndpoint: options.allowEndpoint,
    signer: createRequestSigner({ keyId, sign, clock }),
    log,
  });
  return {
    database,
    ledger: createLedger(database, log),
    gate: openGate(options, clock),
    upstream,
    key: { keyId, publicJwk, sign },
    clock,
    listen: (ear) => listenForChanges(databaseUrl, { ...ear, log }),
  };
}

function openGate({ redisUrl, redisPrefix, log }: NodePartsOptions, clock: Clock): Gate {
  const local = createMemoryGate(clock);
  if (redisUrl === undefined) return local;
  return createRedisGate(redisUrl, local, { log, ...(redisPrefix ? { prefix: redisPrefix } : {}) });
}
