import { Server as NetServer } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import type { Log } from '../base/log.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { Assembled } from './assemble.ts';
import { LIMITS } from './config.ts';
import type { Housekeeping } from './housekeeping.ts';
import type { Parts } from './parts-node.ts';
import type { Socket } from './socket.ts';

const LOOK_AGAIN_MS = 20;

/** What a gateway process has at work. */
export type AtWork = {
  parts: Parts;
  gateway: Assembled;
  housekeeping: Housekeeping;
  jobs: Jobs | undefined;
  log: Log;
};

/** Ends running calls first, for they need everything else; then what works unasked; then every connection. */
export async function shutDown(
  { parts, gateway, housekeeping, jobs, log }: AtWork,
  graceMs: number = LIMITS.shutdownGraceMs,
): Promise<void> {
  const { running, recorder } = gateway.deps;
  // A refund that cannot reach the database is tried for ever. What is then still on hold, the sweeper gives back.
  const lastMs = graceMs + LIMITS.lastRefundsMs;
  const jobsStopped = jobs?.stop(graceMs);
  await Promise.race([running.drain(graceMs), wait(lastMs, undefined, { ref: false })]);
  const left = running.count();
  if (left > 0) log('error', 'stopped with calls on hold; they will be refunded later', { count: left });
  await housekeeping.stop();
  await jobsStopped;
  await gateway.webhooks.close();
  await parts.ledger.close();
  await recorder.flushed();
  parts.clock.close();
  await Promise.allSettled([parts.upstream.close(), parts.gate.close(), gateway.feed.close()]);
  await parts.database.close();
}

/** Accepts no connection any more. */
export function stopAccepting({ server }: Socket): void {
  // Not http's own close, which also cuts connections whose answer has been given but is not yet sent.
  NetServer.prototype.close.call(server);
}

/** A call that has ended is paid for, so its answer gets a moment to be read; streams nobody ends are cut. */
export async function closeSocket({ server, answersUnderWay }: Socket): Promise<void> {
  const deadline = performance.now() + LIMITS.lastAnswersMs;
  while (answersUnderWay() > 0 && performance.now() < deadline) await wait(LOOK_AGAIN_MS);
  server.closeAllConnections();
  server.close();
}
