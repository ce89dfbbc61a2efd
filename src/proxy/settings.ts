import { redact } from './redact.ts';

export const DEFAULT_URL = 'https://sentinel-api.fortiqo.xyz/mcp';

/**
 * How long a request is retried while the gateway is away. Hosts give up on a request after 60 s at the
 * earliest; our words have to arrive before that.
 */
const DEFAULT_RETRY_WINDOW_MS = 25_000;

export type Settings = { kind: 'ready'; key: string; url: URL; retryWindowMs: number } | RefusedSettings;

/** `words` say what is wrong and what to do about it, for a person, in one paragraph. */
export type RefusedSettings = {
  kind: 'refused';
  variable: 'SENTINEL_API_KEY' | 'SENTINEL_URL';
  words: string;
};

/** What the environment asks for. The only place that reads it. */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const url = readUrl(env['SENTINEL_URL']);
  if (url.kind === 'refused') return url;
  const key = readKey(env['SENTINEL_API_KEY']);
  if (key.kind === 'refused') return key;
  return {
    kind: 'ready',
    key: key.key,
    url: url.url,
    retryWindowMs: readRetryWindow(env['SENTINEL_RETRY_SECONDS']),
  };
}

const HOW_TO_SET =
  'Add it to the env block of this server in your host\'s configuration: "env": { "SENTINEL_API_KEY": "sk_live_…" }, then restart the host.';

/** The key by itself, for those who want to judge it apart from the URL. */
export function readKey(text: string | undefined): { kind: 'ready'; key: string } | RefusedSettings {
  // A trailing line break is what copying from a terminal leaves behind.
  const key = (text ?? '').trim();
  const refuse = (words: string): RefusedSettings => ({
    kind: 'refused',
    variable: 'SENTINEL_API_KEY',
    words,
  });

  if (key === '') return refuse(`SENTINEL_API_KEY is not set. ${HOW_TO_SET}`);
  if (/^\$|^%|^<|\$\{/.test(key)) {
    return refuse(
      `SENTINEL_API_KEY still holds a placeholder: your host did not replace it by the key. ${HOW_TO_SET}`,
    );
  }
  // Someone else's secret must not be sent to the gateway, and a header cannot carry a space or a line break.
  if (!/^sk_(live|test)_[\x21-\x7e]+$/.test(key)) {
    return refuse(
      `SENTINEL_API_KEY does not hold a Sentinel key: one starts with sk_live_ or sk_test_ and has no spaces or quotes. It was not sent anywhere. ${HOW_TO_SET}`,
    );
  }
  return { kind: 'ready', key };
}

/** The gateway's address by itself. */
export function readUrl(text: string | undefined): { kind: 'ready'; url: URL } | RefusedSettings {
  const given = (text ?? '').trim() || DEFAULT_URL;
  const refuse = (words: string): RefusedSettings => ({ kind: 'refused', variable: 'SENTINEL_URL', words });

  if (!URL.canParse(given)) {
    return refuse(`SENTINEL_URL is not a URL: "${redact(given)}". It should look like ${DEFAULT_URL}`);
  }
  const url = new URL(given);
  if (url.username !== '' || url.password !== '' || given.includes('sk_')) {
    return refuse(
      'SENTINEL_URL contains a credential. URLs end up in logs: put the key into SENTINEL_API_KEY instead.',
    );
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    return refuse(`SENTINEL_URL has to start with https:// (it starts with ${url.protocol}//).`);
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    return refuse(
      `SENTINEL_URL uses http:// to ${url.hostname}: your key would travel in clear text. Use https://, or a gateway on this machine.`,
    );
  }
  if (url.pathname === '/') url.pathname = '/mcp';
  url.hash = '';
  return { kind: 'ready', url };
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

function readRetryWindow(text: string | undefined): number {
  const seconds = Number(text ?? '');
  const given = text !== undefined && text.trim() !== '' && Number.isFinite(seconds) && seconds >= 0;
  return given ? Math.min(seconds, 300) * 1000 : DEFAULT_RETRY_WINDOW_MS;
}
