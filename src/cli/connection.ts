import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createClient, type Client } from '../client/client.ts';
import { CommandFailure } from './describe-failure.ts';

export type Environment = Record<string, string | undefined>;

/** Which gateway a command speaks to, and as whom. */
export type Connection = { url: string; apiKey: string | undefined; keyFrom: string };

const USUAL_URL = 'http://127.0.0.1:8787';

/** Where `serve` keeps what the commands of the same machine need. */
export function dataDirectory(environment: Environment): string {
  return read(environment, 'SENTINEL_DATA') ?? '.sentinel';
}

/**
 * The environment decides; what is unset comes from the data directory. The operator key kept there is for
 * the gateway that wrote it and is never sent anywhere else.
 */
export async function findConnection(environment: Environment): Promise<Connection> {
  const directory = dataDirectory(environment);
  const keptUrl = await readKept(join(directory, 'url'));
  const url = read(environment, 'SENTINEL_URL') ?? keptUrl ?? USUAL_URL;
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new CommandFailure(`SENTINEL_URL must be a URL such as ${USUAL_URL}; it is "${url}".`);
  }
  const apiKey = read(environment, 'SENTINEL_API_KEY');
  if (apiKey !== undefined) return { url, apiKey, keyFrom: 'SENTINEL_API_KEY' };
  const keyFile = join(directory, 'operator-key');
  const isKept = new URL(url).origin === new URL(keptUrl ?? USUAL_URL).origin;
  return { url, apiKey: isKept ? await readKept(keyFile) : undefined, keyFrom: keyFile };
}

/** A client with a key; a missing one is told only when there is a gateway it would be for. */
export async function connect(environment: Environment, timeoutMs?: number): Promise<Client> {
  const { url, apiKey, keyFrom } = await findConnection(environment);
  if (apiKey !== undefined) {
    return createClient({ url, apiKey, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
  }
  await createClient({ url }).health();
  throw new CommandFailure(
    `No key for ${url}: set SENTINEL_API_KEY, or run this where the gateway keeps its data (there is no usable ${keyFrom}).`,
  );
}

function read(environment: Environment, name: string): string | undefined {
  const text = environment[name]?.trim();
  return text === '' ? undefined : text;
}

async function readKept(file: string): Promise<string | undefined> {
  try {
    const text = (await readFile(file, 'utf8')).trim();
    return text === '' ? undefined : text;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (code === 'EACCES') throw new CommandFailure(`${file} belongs to another user and cannot be read.`);
    throw error;
  }
}
