import { Redis } from 'ioredis';
import type { Log } from '../base/log.ts';
import { NOTED_BALANCE_MS, type Gate, type GateAnswer, type GateRequest } from './gate.ts';

// One atomic step: either all three let the call in and are changed, or none is. Time is Redis's own, so
// that processes with different clocks share one rate. Answers {0 entered | 1 rate | 2 concurrency |
// 3 balance, detail}.
const ENTER = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
-- Half a share more is allowed than is due, because times are rounded and a minute's calls may come at once.
local share = 60000 / tonumber(ARGV[1])
local next_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + share
if next_at - now > 60000 + share / 2 then return {1, math.ceil(next_at - now - 60000)} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[2]) then return {2, 0} end
local balance = redis.call('GET', KEYS[3])
if balance then
  if tonumber(balance) < tonumber(ARGV[5]) then return {3, balance} end
  redis.call('DECRBY', KEYS[3], ARGV[5])
end
redis.call('SET', KEYS[1], string.format('%.3f', next_at), 'PX', math.ceil(next_at - now) + 1000)
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[4]), ARGV[3])
redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[4]) + 60000, 'GT')
if redis.call('PTTL', KEYS[2]) < 0 then redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[4]) + 60000) end
return {0, 0}`;

const LEAVE = `
local had = redis.call('ZREM', KEYS[1], ARGV[1])
if had == 1 and tonumber(ARGV[2]) > 0 and redis.call('EXISTS', KEYS[2]) == 1 then redis.call('INCRBY', KEYS[2], ARGV[2]) end
return 0`;

const COMMAND_TIMEOUT_MS = 250;

type GateCommands = Redis & {
  sentinelEnter(
    ...args: [rate: string, running: string, balance: string, ...values: (string | number)[]]
  ): Promise<[number, number | string]>;
  sentinelLeave(running: string, balance: string, callId: string, givenBack: string): Promise<number>;
};

/**
 * The gate all processes share. While Redis is away the local one stands in: rate limits then hold for each
 * process alone, and `state` says so. Money and caps never depend on either.
 */
export function createRedisGate(url: string, local: Gate, options: { log: Log; prefix?: string }): Gate {
  const prefix = options.prefix ?? 'sentinel:';
  const redis = new Redis(url, {
    enableAutoPipelining: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_TIMEOUT_MS,
    connectTimeout: 2_000,
    retryStrategy: (attempt) => Math.min(attempt * 50, 1_000),
  }) as GateCommands;
  redis.defineCommand('sentinelEnter', { numberOfKeys: 3, lua: ENTER });
  redis.defineCommand('sentinelLeave', { numberOfKeys: 2, lua: LEAVE });

  let isAway = false;
  redis.on('error', () => goAway());
  redis.on('close', () => goAway());
  redis.on('ready', () => {
    if (isAway) options.log('info', 'Redis is back; limits are shared again');
    isAway = false;
  });

  function goAway(): void {
    if (!isAway) options.log('warn', 'Redis is away; rate limits hold for this process alone');
    isAway = true;
  }

  const rateKey = (keyId: string): string => `${prefix}rate:${keyId}`;
  const runningKey = (keyId: string): string => `${prefix}running:${keyId}`;
  const balanceKey = (accountId: bigint): string => `${prefix}balance:${accountId}`;

  /** A lost leave heals itself: the entry expires with the call's own time limit. */
  function tellLeft(caller: GateRequest['caller'], callId: string, givenBackMicros: bigint): void {
    redis
      .sentinelLeave(
        runningKey(caller.keyId),
        balanceKey(caller.accountId),
        callId,
        givenBackMicros.toString(),
      )
      .catch(() => {});
  }

  async function enter(request: GateRequest): Promise<GateAnswer> {
    const { caller, callId, amountMicros, ttlMs } = request;
    if (redis.status !== 'ready') return local.enter(request);
    let answer: [number, number | string];
    try {
      answer = await redis.sentinelEnter(
        rateKey(caller.keyId),
        runningKey(caller.keyId),
        balanceKey(caller.accountId),
        caller.ratePerMinute,
        caller.maxConcurrent,
        callId,
        ttlMs,
        amountMicros.toString(),
      );
    } catch {
      goAway();
      // A Redis that was only slow has let the call in all the same. It reads this next, so the place and
      // the balance are not taken until the call's time limit by a call that goes on without them.
      tellLeft(caller, callId, amountMicros);
      return local.enter(request);
    }
    isAway = false;
    const [verdict, detail] = answer;
    if (verdict === 1) {
      return { kind: 'rate_limited', ratePerMinute: caller.ratePerMinute, retryAfterMs: Number(detail) };
    }
    if (verdict === 2) return { kind: 'too_many_at_once', maxConcurrent: caller.maxConcurrent };
    if (verdict === 3) return { kind: 'insufficient', availableMicros: BigInt(detail) };
    let hasLeft = false;
    return {
      kind: 'entered',
      leave: (givenBackMicros) => {
        if (hasLeft) return;
        hasLeft = true;
        tellLeft(caller, callId, givenBackMicros);
      },
    };
  }

  return {
    enter,
    noteBalance: (accountId, availableMicros) => {
      local.noteBalance(accountId, availableMicros);
      redis.set(balanceKey(accountId), availableMicros.toString(), 'PX', NOTED_BALANCE_MS).catch(() => {});
    },
    forgetBalance: (accountId) => {
      local.forgetBalance(accountId);
      redis.del(balanceKey(accountId)).catch(() => {});
    },
    state: () => (redis.status === 'ready' && !isAway ? 'shared' : 'degraded'),
    close: () => {
      redis.disconnect();
      return local.close();
    },
  };
}
