import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { newId } from '../../src/base/ids.ts';
import { silentLog, type Log } from '../../src/base/log.ts';
import { parseCredits } from '../../src/base/money.ts';
import { issueKey, type KeyWish } from '../../src/governance/issue-key.ts';
import type { StripeOptions } from '../../src/billing/stripe.ts';
import type { Manifest } from '../../src/catalog/agent.ts';
import { publishAgent } from '../../src/catalog/publish.ts';
import { verifyAgent } from '../../src/catalog/standing.ts';
import { insertOrganization } from '../../src/identity/organizations.ts';
import { newSigningKeyPem } from '../../src/identity/signing-key.ts';
import { grantCredits } from '../../src/ledger/accounts.ts';
import { createGateway, type Gateway } from '../../src/runtime/gateway.ts';
import { createSocket } from '../../src/runtime/socket.ts';
import { createTestDatabase } from '../support/database.ts';

/** A key, and whose it is. */
export type Member = { organizationId: string; keyId: string; key: string };

/** An answer, read. */
export type Answer = {
  status: number;
  headers: Headers;
  text: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- a test looks into whatever came back
  body: any;
};

export type Send = { key?: string; body?: unknown; headers?: Record<string, string>; signal?: AbortSignal };

/** The whole gateway on a socket of its own, over a database of its own. */
export type RestGateway = {
  url: string;
  gateway: Gateway;
  databaseUrl: string;
  operator: Member;
  sellerId: string;
  send(method: string, path: string, send?: Send): Promise<Answer>;
  newMember(credits?: string, wish?: Partial<KeyWish>): Promise<Member>;
  newKey(organizationId: string, wish?: Partial<KeyWish>): Promise<Member>;
  /** Publishes for the seller; a score puts it up for sale. */
  publish(manifest: Manifest, score?: number): Promise<string>;
  close(): Promise<void>;
};

export async function startRestGateway(
  options: { log?: Log; publicUrl?: string; allowedOrigins?: string[]; stripe?: StripeOptions } = {},
): Promise<RestGateway> {
  const log = options.log ?? silentLog;
  const database = await createTestDatabase();
  const socket = createSocket(log);
  const { server } = socket;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const gateway = await createGateway({
    isBoundLocally: true,
    databaseUrl: database.url,
    redisUrl: undefined,
    publicUrl: options.publicUrl ?? url,
    signingKeyPem: newSigningKeyPem(),
    feeBasisPoints: 300n,
    stripe: options.stripe,
    allowedHosts: [],
    allowedOrigins: options.allowedOrigins ?? ['https://app.example.com'],
    allowEndpoint: (endpoint) => endpoint.hostname === '127.0.0.1',
    log,
  });
  socket.answerWith(gateway);
  const { db } = gateway.database;

  const newOrganization = (name: string): Promise<string> =>
    db.transaction(async (tx) => (await insertOrganization(tx, name)).id);
  const newKey = async (organizationId: string, wish: Partial<KeyWish> = {}): Promise<Member> => {
    const { id, key } = await issueKey(db, { currency: 'live', ...wish, organizationId });
    return { organizationId, keyId: id, key };
  };
  const sellerId = await newOrganization('Seller');
  const operator = await newKey(await newOrganization('Operators'), { scopes: ['operator'] });

  return {
    url,
    gateway,
    databaseUrl: database.url,
    operator,
    sellerId,
    newKey,
    send: (method, path, send = {}) => sendTo(url, method, path, send),
    newMember: async (credits = '1000', wish = {}) => {
      const organizationId = await newOrganization('Buyer');
      const amountMicros = parseCredits(credits) ?? 0n;
      if (amountMicros > 0n) {
        const grant = { id: newId('txn'), currency: wish.currency ?? ('live' as const), amountMicros };
        await db.transaction((tx) => grantCredits(tx, { ...grant, organizationId }));
      }
      return newKey(organizationId, wish);
    },
    publish: async (manifest, score) => {
      const request = { organizationId: sellerId, manifest, checkEndpoint: () => undefined };
      const { agentId } = await db.transaction((tx) => publishAgent(tx, request));
      if (score !== undefined) await db.transaction((tx) => verifyAgent(tx, { agentId, score }));
      await gateway.catalog.refresh(agentId);
      return agentId;
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await gateway.close(1_000);
      await database.close();
    },
  };
}

async function sendTo(url: string, method: string, path: string, send: Send): Promise<Answer> {
  const response = await fetch(`${url}${path}`, {
    method,
    redirect: 'manual',
    headers: {
      ...(send.key === undefined ? {} : { authorization: `Bearer ${send.key}` }),
      ...(send.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...send.headers,
    },
    ...(send.body === undefined
      ? {}
      : { body: typeof send.body === 'string' ? send.body : JSON.stringify(send.body) }),
    ...(send.signal ? { signal: send.signal } : {}),
  });
  const text = await response.text();
  const isJson = /json\b/.test(response.headers.get('content-type') ?? '');
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: isJson ? (JSON.parse(text) as unknown) : undefined,
  };
}
