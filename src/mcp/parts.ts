import { createViews, type Connection, type View } from './connection.ts';
import type { Caller } from '../identity/caller.ts';
import type { Exchange } from './exchange.ts';
import { createHotPath, type HotPath } from './hot-path.ts';
import { createInFlight, type InFlight } from './in-flight.ts';
import { createLegacySessions, type LegacySessions } from './legacy-sessions.ts';
import { createListChanges, type ListChanges } from './list-changes.ts';
import { createPulse, type Pulse } from './pulse.ts';
import { createSdkPath, type SdkPath } from './sdk-path.ts';
import type { McpDeps } from './tool-call.ts';
import { createToolList } from './tool-list.ts';

/** What the routes share, built once for one endpoint. */
export type McpParts = {
  deps: McpDeps;
  options: EndpointOptions;
  viewOf: (url: string) => View;
  hotPath: HotPath;
  sdkPath: SdkPath;
  inFlight: InFlight;
  pulse: Pulse;
  changes: ListChanges;
  sessions: LegacySessions;
};

/** What one endpoint differs in from another. */
export type EndpointOptions = {
  /** Where it is: `/mcp`. */
  prefix: string;
  /** Who is asking. Throws Problem. */
  authenticate(exchange: Exchange): Promise<Caller>;
  /** What `WWW-Authenticate` says to somebody who is not let in. */
  challenge: string;
};

export function createParts(deps: McpDeps, options: EndpointOptions): McpParts {
  const pulse = createPulse(deps.clock, deps.timing);
  const hotPath = createHotPath(createToolList(deps.catalog), deps);
  const sdkPath = createSdkPath(hotPath, deps);
  const changes = createListChanges(deps.catalog, pulse);
  changes.onChange(() => sdkPath.toolsChanged());
  const messages = `${new URL(deps.publicUrl).pathname.replace(/\/$/, '')}${options.prefix}/messages`;
  return {
    deps,
    options,
    viewOf: createViews(),
    hotPath,
    sdkPath,
    inFlight: createInFlight(),
    pulse,
    changes,
    sessions: createLegacySessions(messages, changes, pulse),
  };
}

/** Reads who is asking and what its URL lets it see. Throws Problem. */
export async function connect(exchange: Exchange, { options, viewOf }: McpParts): Promise<Connection> {
  // The URL first: someone who put the key there has none in the headers and is to be told why.
  const view = viewOf(exchange.target);
  return { caller: await options.authenticate(exchange), view };
}
