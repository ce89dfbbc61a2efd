import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { after, before, test } from 'node:test';
import { newSigningKeyPem } from '../../src/identity/signing-key.ts';
import { ConfigError, LIMITS, readConfig, type Config } from '../../src/runtime/config.ts';
import {
  createDataDirectories,
  runGatewayProcess,
  type DataDirectories,
} from '../support/gateway-process.ts';

let directories: DataDirectories;
before(async () => {
  directories = await createDataDirectories();
});
after(() => directories.remove());

const DEFAULTS: Config = {
  host: '127.0.0.1',
  port: 8787,
  publicUrl: undefined,
  dataDirectory: '.sentinel',
  databaseUrl: undefined,
  redisUrl: undefined,
  signingKeyPem: undefined,
  feeBasisPoints: 300n,
  stripe: undefined,
  allowPrivateEndpoints: false,
  allowedHosts: [],
  allowedOrigins: [],
  shutdownGraceMs: LIMITS.shutdownGraceMs,
};

const PEM = newSigningKeyPem();
const RSA = generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey;

/** What a variable may be and what that means; and what it may not be. */
const VARIABLES: { name: string; good: [text: string, meaning: Partial<Config>][]; bad: string[] }[] = [
  {
    name: 'HOST',
    good: [
      ['0.0.0.0', { host: '0.0.0.0' }],
      ['::1', { host: '::1' }],
      ['gateway.internal', { host: 'gateway.internal' }],
    ],
    bad: ['not a host', 'http://127.0.0.1', 'a/b'],
  },
  {
    name: 'PORT',
    good: [
      ['0', { port: 0 }],
      ['65535', { port: 65_535 }],
    ],
    bad: ['65536', '-1', '80.5', '0x50', 'http', '1e3'],
  },
  {
    name: 'PUBLIC_URL',
    good: [
      ['https://sentinel.example.com', { publicUrl: 'https://sentinel.example.com' }],
      ['http://10.0.0.1:8787/', { publicUrl: 'http://10.0.0.1:8787' }],
    ],
    bad: [
      'sentinel.example.com',
      'https://example.com/path',
      'https://example.com/?a=b',
      'ftp://example.com',
    ],
  },
  { name: 'SENTINEL_DATA', good: [['/var/lib/sentinel', { dataDirectory: '/var/lib/sentinel' }]], bad: [] },
  {
    name: 'DATABASE_URL',
    good: [
      ['postgres://u:p@db:5432/s', { databaseUrl: 'postgres://u:p@db:5432/s' }],
      ['postgresql://db/s', { databaseUrl: 'postgresql://db/s' }],
    ],
    bad: ['mysql://db/s', 'db:5432', 'host=db dbname=s'],
  },
  {
    name: 'REDIS_URL',
    good: [
      ['redis://cache:6379', { redisUrl: 'redis://cache:6379' }],
      ['rediss://:p@cache', { redisUrl: 'rediss://:p@cache' }],
    ],
    bad: ['cache:6379', 'http://cache', '6379'],
  },
  {
    name: 'SENTINEL_SIGNING_KEY',
    good: [
      [PEM, { signingKeyPem: PEM.trim() }],
      [PEM.replaceAll('\n', '\\n'), { signingKeyPem: PEM }],
      [Buffer.from(PEM).toString('base64'), { signingKeyPem: PEM }],
    ],
    bad: [
      'secret',
      RSA.export({ type: 'pkcs8', format: 'pem' }).toString(),
      '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----',
    ],
  },
  {
    name: 'SENTINEL_FEE_BASIS_POINTS',
    good: [
      ['0', { feeBasisPoints: 0n }],
      ['10000', { feeBasisPoints: 10_000n }],
    ],
    bad: ['10001', '-1', '2.5', '3%'],
  },
  {
    name: 'STRIPE_WEBHOOK_SECRET',
    good: [['whsec_one, whsec_two', {}]],
    bad: ['secret', 'whsec_one,', 'whsec_one whsec_two', 'whsec_one,two'],
  },
  {
    name: 'SENTINEL_ALLOW_PRIVATE_ENDPOINTS',
    good: [
      ['true', { allowPrivateEndpoints: true }],
      ['1', { allowPrivateEndpoints: true }],
      ['false', { allowPrivateEndpoints: false }],
    ],
    bad: ['maybe', 'tru', '2'],
  },
  {
    name: 'SENTINEL_ALLOWED_HOSTS',
    good: [['a.example.com, B.example.com', { allowedHosts: ['a.example.com', 'b.example.com'] }]],
    bad: ['https://a.example.com', 'a.example.com,', '*'],
  },
  {
    name: 'SENTINEL_ALLOWED_ORIGINS',
    good: [
      [
        'https://a.example.com,http://localhost:3000',
        { allowedOrigins: ['https://a.example.com', 'http://localhost:3000'] },
      ],
    ],
    bad: ['a.example.com', 'https://a.example.com/app', '*'],
  },
  {
    name: 'SENTINEL_SHUTDOWN_GRACE_MS',
    good: [
      ['0', { shutdownGraceMs: 0 }],
      ['3600000', { shutdownGraceMs: 3_600_000 }],
    ],
    bad: ['3600001', '-5', '30s'],
  },
];

test('an empty environment is enough, and an empty variable counts as unset', () => {
  assert.deepEqual(readConfig({}), DEFAULTS);
  const empty = Object.fromEntries(VARIABLES.map(({ name }) => [name, ' ']));
  assert.deepEqual(readConfig(empty), DEFAULTS);
});

for (const { name, good, bad } of VARIABLES) {
  test(`${name} is read as it is meant, and a bad value is named`, () => {
    for (const [text, meaning] of good) {
      assert.deepEqual(readConfig({ [name]: text }), { ...DEFAULTS, ...meaning }, text);
    }
    for (const text of bad) {
      assert.throws(
        () => readConfig({ [name]: text }),
        (error) => {
          assert.ok(error instanceof ConfigError, text);
          assert.equal(error.faults.length, 1, text);
          assert.match(error.faults[0] ?? '', new RegExp(`^${name} must be .+\\.$`), text);
          return true;
        },
      );
    }
  });
}

test('each webhook endpoint in Stripe has its signing secret in one list', () => {
  const environment = { STRIPE_SECRET_KEY: 'sk_test_x', STRIPE_WEBHOOK_SECRET: 'whsec_one, whsec_two' };
  const { stripe } = readConfig(environment);
  assert.deepEqual(stripe?.webhookSecrets, ['whsec_one', 'whsec_two']);
});

test('every fault is told at once, and no value with them', () => {
  const wrong = VARIABLES.filter(({ bad }) => bad.length > 0);
  assert.throws(
    () => readConfig(Object.fromEntries(wrong.map(({ name, bad }) => [name, bad[0]]))),
    (error) => {
      assert.ok(error instanceof ConfigError);
      assert.deepEqual(
        new Set(error.faults.map((fault) => fault.split(' ')[0])),
        new Set(wrong.map(({ name }) => name)),
      );
      assert.equal(error.message, error.faults.join('\n'));
      assert.doesNotMatch(error.message, /secret|mysql/);
      return true;
    },
  );
});

test('what was read cannot be changed', () => {
  assert.ok(Object.isFrozen(readConfig({})));
});

test('a process with a bad environment says every fault without a stack trace, and ends with an error', async () => {
  const { code, stdout, stderr } = await runGatewayProcess({
    dataDirectory: await directories.make(),
    env: { PORT: 'http', DATABASE_URL: 'mysql://db', SENTINEL_SIGNING_KEY: 'hunter2' },
  });
  assert.equal(code, 1);
  assert.equal(stdout, '');
  assert.deepEqual(
    stderr
      .trimEnd()
      .split('\n')
      .map((line) => /^(\w+) must be .+\.$/.exec(line)?.[1]),
    ['PORT', 'DATABASE_URL', 'SENTINEL_SIGNING_KEY'],
  );
  assert.doesNotMatch(stderr, /hunter2/);
});

test('a flag goes before its variable, and is checked like it', async () => {
  const { code, stderr } = await runGatewayProcess({
    dataDirectory: await directories.make(),
    args: ['--port', '99999'],
  });
  assert.equal(code, 1);
  assert.match(stderr, /^PORT must be a port number from 0 to 65535\.\n$/);
});
