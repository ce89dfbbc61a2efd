import { readFile } from 'node:fs/promises';
import { createClient } from '../client/client.ts';
import { GatewayAway } from '../client/failures.ts';
import { readKeySet, type KeySet } from '../client/key-set.ts';
import { findConnection } from './connection.ts';
import { CommandFailure } from './describe-failure.ts';

const PATIENCE_MS = 10_000;

/** The keys receipts are checked with: of a file or a URL, else those the gateway publishes. */
export async function loadKeySet(
  named: string | undefined,
  environment: Record<string, string | undefined>,
): Promise<KeySet> {
  if (named === undefined) return readKeySet(await ofGateway(environment));
  if (/^https?:/.test(named)) return readKeySet(await ofUrl(named));
  return readKeySet(
    await readFile(named, 'utf8').catch(() => {
      throw new CommandFailure(`The key set ${named} cannot be read. Save one from /.well-known/jwks.json.`);
    }),
  );
}

async function ofGateway(environment: Record<string, string | undefined>): Promise<string> {
  const { url } = await findConnection(environment);
  try {
    return JSON.stringify(await createClient({ url, timeoutMs: PATIENCE_MS }).keySet());
  } catch (error) {
    if (!(error instanceof GatewayAway)) throw error;
    throw new CommandFailure(`No Sentinel answers at ${url}. Name a key set that you saved: --jwks FILE`);
  }
}

async function ofUrl(url: string): Promise<string> {
  try {
    const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.ok) return await answer.text();
  } catch {
    // Said below, in words.
  }
  throw new CommandFailure(`There is no key set at ${url}.`);
}
