import type { StripeOptions } from '../billing/stripe.ts';
import { readSigningKey } from '../identity/signing-key.ts';

/** How this process runs. Read from the environment once, at start; frozen from then on. */
export type Config = {
  host: string;
  port: number;
  /** The origin clients reach us at, without a trailing slash; undefined means http://host:port. */
  publicUrl: string | undefined;
  dataDirectory: string;
  /** Undefined: an embedded PostgreSQL in the data directory. */
  databaseUrl: string | undefined;
  /** Undefined: one process, limits in memory. */
  redisUrl: string | undefined;
  /** PKCS #8 PEM, or undefined: a key kept in the data directory. */
  signingKeyPem: string | undefined;
  feeBasisPoints: bigint;
  /** Undefined: credits cannot be bought, nor earnings paid out. */
  stripe: StripeOptions | undefined;
  /** Agents on private and loopback addresses may be published and called. */
  allowPrivateEndpoints: boolean;
  /** Host names, besides our own, under which a reverse proxy forwards requests to us. */
  allowedHosts: string[];
  allowedOrigins: string[];
  /** How long a running call may take to end when the gateway is told to stop. */
  shutdownGraceMs: number;
};

export const LIMITS = {
  databaseConnections: 10,
  /** Unless SENTINEL_SHUTDOWN_GRACE_MS says otherwise. */
  shutdownGraceMs: 30_000,
  /** How long calls that were aborted at the end of that may take to be refunded. */
  lastRefundsMs: 5_000,
  /** How long the last answers may take to reach their readers once their calls have ended. */
  lastAnswersMs: 2_000,
  sweepEveryMs: 5_000,
} as const;

/** Thrown with every fault of the environment at once. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly faults: string[];
  constructor(faults: string[]) {
    super(faults.join('\n'));
    this.faults = faults;
  }
}

type Environment = Record<string, string | undefined>;

/** Reads the configuration. An empty variable counts as unset; a bad one is named, never ignored. */
export function readConfig(environment: Environment): Config {
  const faults: string[] = [];

  function read<Value>(
    name: string,
    parse: (text: string) => Value | undefined,
    expected: string,
  ): Value | undefined {
    const text = environment[name]?.trim();
    if (text === undefined || text === '') return undefined;
    const value = parse(text);
    if (value === undefined) faults.push(`${name} must be ${expected}.`);
    return value;
  }

  function readStripe(): StripeOptions | undefined {
    const secretKey = read(
      'STRIPE_SECRET_KEY',
      (text) => (/^(sk|rk)_(live|test)_\w+$/.test(text) ? text : undefined),
      'a secret key of Stripe, sk_live_… or sk_test_…',
    );
    const webhookSecrets =
      read(
        'STRIPE_WEBHOOK_SECRET',
        signingSecrets,
        'what the webhook endpoints in Stripe sign with, whsec_…, separated by commas',
      ) ?? [];
    const apiBase = read('STRIPE_API_BASE', origin, 'an http(s) URL without path');
    return secretKey === undefined ? undefined : { secretKey, webhookSecrets, apiBase };
  }

  const config: Config = {
    host:
      read('HOST', (text) => (/^[\w.:-]+$/.test(text) ? text : undefined), 'a host name or address') ??
      '127.0.0.1',
    port: read('PORT', (text) => integer(text, 0, 65_535), 'a port number from 0 to 65535') ?? 8787,
    publicUrl: read(
      'PUBLIC_URL',
      origin,
      'an http(s) URL without path, such as https://sentinel.example.com',
    ),
    dataDirectory: read('SENTINEL_DATA', (text) => text, 'a directory') ?? '.sentinel',
    databaseUrl: read(
      'DATABASE_URL',
      (text) => url(text, ['postgres:', 'postgresql:']),
      'a URL such as postgres://user:password@host:5432/sentinel',
    ),
    redisUrl: read(
      'REDIS_URL',
      (text) => url(text, ['redis:', 'rediss:']),
      'a URL such as redis://host:6379',
    ),
    signingKeyPem: read(
      'SENTINEL_SIGNING_KEY',
      pem,
      'an Ed25519 private key as PKCS #8 PEM, or that PEM in base64',
    ),
    feeBasisPoints: BigInt(
      read(
        'SENTINEL_FEE_BASIS_POINTS',
        (text) => integer(text, 0, 10_000),
        'a whole number from 0 to 10000',
      ) ?? 300,
    ),
    stripe: readStripe(),
    allowPrivateEndpoints: read('SENTINEL_ALLOW_PRIVATE_ENDPOINTS', flag, '"true" or "false"') ?? false,
    allowedHosts: read('SENTINEL_ALLOWED_HOSTS', hostNames, 'host names separated by commas') ?? [],
    allowedOrigins:
      read(
        'SENTINEL_ALLOWED_ORIGINS',
        origins,
        'origins such as https://app.example.com, separated by commas',
      ) ?? [],
    shutdownGraceMs:
      read(
        'SENTINEL_SHUTDOWN_GRACE_MS',
        (text) => integer(text, 0, 3_600_000),
        'milliseconds from 0 to 3600000',
      ) ?? LIMITS.shutdownGraceMs,
  };
  if (faults.length > 0) throw new ConfigError(faults);
  return Object.freeze(config);
}

function integer(text: string, least: number, most: number): number | undefined {
  if (!/^\d{1,9}$/.test(text)) return undefined;
  const value = Number(text);
  return value >= least && value <= most ? value : undefined;
}

function flag(text: string): boolean | undefined {
  if (/^(1|true|yes|on)$/i.test(text)) return true;
  if (/^(0|false|no|off)$/i.test(text)) return false;
  return undefined;
}

function url(text: string, protocols: string[]): string | undefined {
  return URL.canParse(text) && protocols.includes(new URL(text).protocol) ? text : undefined;
}

function origin(text: string): string | undefined {
  const parsed = url(text, ['http:', 'https:']);
  if (parsed === undefined) return undefined;
  const { origin: found, pathname, search, hash } = new URL(parsed);
  return pathname === '/' && search === '' && hash === '' ? found : undefined;
}

function origins(text: string): string[] | undefined {
  const parsed = text.split(',').map((part) => origin(part.trim()));
  return parsed.includes(undefined) ? undefined : (parsed as string[]);
}

function signingSecrets(text: string): string[] | undefined {
  const secrets = text.split(',').map((part) => part.trim());
  return secrets.every((secret) => /^whsec_\S+$/.test(secret)) ? secrets : undefined;
}

function hostNames(text: string): string[] | undefined {
  const names = text.split(',').map((part) => part.trim().toLowerCase());
  return names.every((name) => /^[a-z0-9.-]+$/.test(name)) ? names : undefined;
}

function pem(text: string): string | undefined {
  const decoded = text.startsWith('-----')
    ? text.replaceAll('\\n', '\n')
    : Buffer.from(text, 'base64').toString();
  try {
    readSigningKey(decoded);
    return decoded;
  } catch {
    return undefined;
  }
}
