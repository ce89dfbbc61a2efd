import { once } from 'node:events';
import type { Server } from 'node:http';
import type { Log } from '../base/log.ts';
import { openDataDirectory, type DataDirectory } from '../db/data-directory.ts';
import { startEmbeddedPostgres } from '../db/embedded-postgres.ts';
import { migrate } from '../db/migrate.ts';
import type { Config } from './config.ts';
import { startDemo, type Demo } from './demo.ts';
import { createGateway } from './gateway.ts';
import { keepOperatorKey, keepSigningKey, keepUrl } from './kept-secrets.ts';
import { greeting } from './greeting.ts';
import { closeSocket, stopAccepting } from './shutdown.ts';
import { createSocket } from './socket.ts';

export type Running = {
  url: string;
  /** What to tell the person at the terminal. */
  greeting: string;
  /** Stops accepting, lets running calls end, settles or refunds every one, and stops what was started. */
  stop(): Promise<void>;
};

/**
 * Starts a whole gateway: data directory, database, migrations, keys, agents, socket. Whatever was started
 * before something fails is stopped again, last first.
 */
export async function serve(config: Config, options: { demo: boolean; log: Log }): Promise<Running> {
  const { log } = options;
  const started: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (let end = started.pop(); end; end = started.pop()) await end();
  };
  try {
    const directory = await openDataDirectory(config.dataDirectory);
    started.push(() => directory.release());
    const databaseUrl = config.databaseUrl ?? (await startDatabase(directory, log, started));
    await migrate(databaseUrl, log);

    const socket = createSocket(log);
    const { server } = socket;
    await listen(server, config);
    const localUrl = originOf(server, config.host);
    const publicUrl = config.publicUrl ?? localUrl;
    started.push(() => closeSocket(socket));

    let demo: Demo | undefined;
    const gateway = await createGateway({
      databaseUrl,
      redisUrl: config.redisUrl,
      publicUrl,
      isBoundLocally: ['127.0.0.1', '::1', 'localhost'].includes(config.host),
      signingKeyPem: config.signingKeyPem ?? (await keepSigningKey(directory.path)),
      feeBasisPoints: config.feeBasisPoints,
      stripe: config.stripe,
      allowedHosts: allowedHosts(config, publicUrl),
      allowedOrigins: config.allowedOrigins,
      allowEndpoint: (url) => config.allowPrivateEndpoints || demo?.allows(url) === true,
      runsJobs: true,
      log,
    });
    // The gateway stops before the socket, over which running calls still answer, and before the demo's agents,
    // which still work for them.
    started.push(() => demo?.close() ?? Promise.resolve());
    started.push(() => {
      stopAccepting(socket);
      return gateway.close(config.shutdownGraceMs);
    });
    await keepOperatorKey(gateway.database.db, directory.path);
    await keepUrl(directory.path, localUrl);

    if (options.demo) demo = await startDemo(gateway, directory.path, log);
    socket.answerWith(gateway);
    return {
      url: publicUrl,
      greeting: greeting({
        url: publicUrl,
        directory: directory.path,
        demo,
        databaseUrl: config.databaseUrl,
      }),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startDatabase(
  directory: DataDirectory,
  log: Log,
  started: (() => Promise<unknown>)[],
): Promise<string> {
  const postgres = await startEmbeddedPostgres({ dataDir: directory, log });
  started.push(() => postgres.stop());
  return postgres.url;
}

async function listen(server: Server, config: Config): Promise<void> {
  server.listen(config.port, config.host);
  try {
    await once(server, 'listening');
  } catch (error) {
    throw new Error(whyNotListening(error, config), { cause: error });
  }
}

function whyNotListening(error: unknown, { host, port }: Config): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
  switch (code) {
    case 'EADDRINUSE':
      return `Port ${port} on ${host} is in use. Stop what listens there, or choose another: PORT=8788 npm start`;
    case 'EACCES':
      return `This user may not listen on port ${port}. Choose a PORT from 1024 up.`;
    default:
      return `HOST ${host} is not an address of this machine (${code}). Use 127.0.0.1, or 0.0.0.0 for every address.`;
  }
}

function originOf(server: Server, host: string): string {
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}

function allowedHosts(config: Config, publicUrl: string): string[] {
  return [new URL(publicUrl).hostname, config.host, ...config.allowedHosts];
}
