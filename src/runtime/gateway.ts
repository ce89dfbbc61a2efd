import { startJobs } from '../jobs/jobs.ts';
import { assemble, type Assembled, type AssembleOptions } from './assemble.ts';
import { letCallsDieYoung } from './garbage.ts';
import { startHousekeeping } from './housekeeping.ts';
import { openNodeParts, type NodePartsOptions } from './parts-node.ts';
import { shutDown } from './shutdown.ts';

/** What a gateway is built from; no environment, no files. */
export type GatewayOptions = AssembleOptions &
  NodePartsOptions & {
    /** Several processes may run jobs; where none does, what jobs do waits. */
    runsJobs?: boolean;
  };

/** One gateway process on Node, without its socket, at work on what it does unasked. */
export type Gateway = Assembled & {
  /**
   * Lets running calls end, refunds what has not ended after `graceMs`, writes everything down, and lets go
   * of every connection. The owner of the socket has stopped accepting before.
   */
  close(graceMs?: number): Promise<void>;
};

/** Builds a gateway on a migrated database. */
export async function createGateway(options: GatewayOptions): Promise<Gateway> {
  letCallsDieYoung();
  const parts = await openNodeParts(options);
  const gateway = await assemble(parts, options);
  const { log } = options;
  const housekeeping = startHousekeeping(gateway.deps, log);
  const jobs = options.runsJobs
    ? startJobs({
        store: {
          databaseUrl: options.databaseUrl,
          redisUrl: options.redisUrl,
          redisPrefix: `${options.redisPrefix ?? 'sentinel:'}jobs`,
        },
        schedule: gateway.schedule,
        clock: parts.clock,
        log,
        onEnded: (job) => gateway.metrics.onJobEnded(job, parts.clock.now()),
      })
    : undefined;
  return { ...gateway, close: (graceMs) => shutDown({ parts, gateway, housekeeping, jobs, log }, graceMs) };
}
