import { randomUUID } from 'node:crypto';
import type { Manifest } from '../../src/catalog/agent.ts';
import { startSeller, type TestSeller } from '../support/gateway.ts';

/** A gateway as its operator reaches it over HTTP. */
export type Operated = { url: string; operatorKey: string };

/** What one request came to, whichever wire it went over. */
export type Outcome =
  /** Paid for, and in the buyer's hands. */
  | { kind: 'answer'; callId: string; charged: string; isReplay: boolean; text: string }
  | { kind: 'refusal'; code: string; status: number; isRetryable: boolean; detail: string }
  /** The connection broke: nobody knows. */
  | { kind: 'unknown'; error: string };

export type Wire = 'rest' | 'mcp';
export type Call = {
  key: string;
  agentId: string;
  text: string;
  idempotencyKey?: string;
  signal?: AbortSignal;
};

/** Asks the gateway's own API as `key`; anything but a success throws. */
export async function ask<Body = Record<string, unknown>>(
  { url, key }: { url: string; key: string },
  method: string,
  path: string,
  body?: unknown,
): Promise<Body> {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
  return JSON.parse(text) as Body;
}

export async function newOrganization(operated: Operated, name: string): Promise<string> {
  return (await asOperator<{ id: string }>(operated, 'POST', '/v1/orgs', { name })).id;
}

export type Buyer = { organizationId: string; keyId: string; key: string };

/** An organization with this many credits, and a key that no rate stops unless `wish` says so. */
export async function newBuyer(
  operated: Operated,
  credits: string,
  wish: Record<string, unknown> = {},
): Promise<Buyer> {
  const organizationId = await newOrganization(operated, 'Buyer');
  const grant = { organization_id: organizationId, amount: credits };
  await asOperator(operated, 'POST', '/v1/credits/grants', grant);
  return newKey(operated, organizationId, wish);
}

export async function newKey(
  operated: Operated,
  organizationId: string,
  wish: Record<string, unknown> = {},
): Promise<Buyer> {
  const body = { organization_id: organizationId, rate_per_minute: 1_000_000, ...wish };
  const { id, key } = await asOperator<{ id: string; key: string }>(operated, 'POST', '/v1/keys', body);
  return { organizationId, keyId: id, key };
}

/** Publishes for the organization and puts the agent up for sale. */
export async function publish(
  operated: Operated,
  organizationId: string,
  manifest: Manifest,
): Promise<string> {
  await asOperator(operated, 'POST', '/v1/agents', { manifest, organization_id: organizationId });
  const verification = `/v1/agents/${manifest.agent_id}/verification`;
  await asOperator(operated, 'POST', verification, { trust_score: 80 });
  return manifest.agent_id;
}

export function asOperator<Body = Record<string, unknown>>(
  { url, operatorKey }: Operated,
  method: string,
  path: string,
  body?: unknown,
): Promise<Body> {
  return ask<Body>({ url, key: operatorKey }, method, path, body);
}

/** A seller who writes down which call brought which text. */
export type CountingSeller = TestSeller & { calls: { callId: string; text: string }[] };

/** `work` ends when the seller is to answer. */
export async function startCountingSeller(
  work: (text: string) => unknown = () => {},
): Promise<CountingSeller> {
  const calls: CountingSeller['calls'] = [];
  const seller = await startSeller(async ({ text }, request) => {
    calls.push({ callId: String(request.headers['x-sentinel-call-id']), text: String(text) });
    await work(String(text));
    return { text };
  });
  return Object.assign(seller, { calls });
}

/** One paid call over either wire. Never throws. */
export async function call(url: string, wire: Wire, wanted: Call): Promise<Outcome> {
  try {
    return wire === 'rest' ? await callOverRest(url, wanted) : await callOverMcp(url, wanted);
  } catch (error) {
    return { kind: 'unknown', error: String(error) };
  }
}

async function callOverRest(url: string, wanted: Call): Promise<Outcome> {
  const response = await fetch(`${url}/v1/agents/${wanted.agentId}/invoke`, {
    method: 'POST',
    headers: headersOf(wanted),
    body: JSON.stringify({ inputs: { text: wanted.text } }),
    ...(wanted.signal ? { signal: wanted.signal } : {}),
  });
  const body = (await response.json()) as RestBody;
  if (response.status !== 200) return refusal(body, response.status);
  return {
    kind: 'answer',
    callId: body.call_id,
    charged: body.credits_charged,
    isReplay: body.replay,
    text: body.output.text,
  };
}

/** The smallest host there is: one stateless POST, as hosts of every revision send it. */
async function callOverMcp(url: string, wanted: Call): Promise<Outcome> {
  const response = await fetch(`${url}/mcp`, {
    method: 'POST',
    headers: {
      ...headersOf(wanted),
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-11-25',
    },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: randomUUID(),
      method: 'tools/call',
      params: { name: `sentinel_${wanted.agentId}`, arguments: { text: wanted.text } },
    }),
    ...(wanted.signal ? { signal: wanted.signal } : {}),
  });
  const { result, error } = parseMessage(await response.text());
  if (error) {
    const { status } = response;
    return refusal({ code: error.data?.code, retryable: status === 503, detail: error.message }, status);
  }
  if (result === undefined) throw new Error('The answer carries neither a result nor an error.');
  if (result.isError === true) return refusal(result._meta['xyz.sentinel/error'], response.status);
  const receipt = result._meta['xyz.sentinel/receipt'];
  return {
    kind: 'answer',
    callId: receipt.call_id,
    charged: receipt.charged,
    isReplay: result._meta['xyz.sentinel/replay'] === true,
    text: result.structuredContent.text,
  };
}

type RestBody = {
  call_id: string;
  credits_charged: string;
  replay: boolean;
  output: { text: string };
} & RefusalBody;
type RefusalBody = { code?: string | undefined; retryable?: boolean; detail?: string; message?: string };
type McpMessage = {
  // oxlint-disable-next-line typescript/no-explicit-any -- a test looks into whatever came back
  result?: any;
  error?: { message: string; data?: { code?: string } };
};

function refusal(body: RefusalBody, status: number): Outcome {
  return {
    kind: 'refusal',
    code: body.code ?? 'none',
    status,
    isRetryable: body.retryable === true,
    detail: body.detail ?? body.message ?? '',
  };
}

function headersOf(wanted: Call): Record<string, string> {
  return {
    authorization: `Bearer ${wanted.key}`,
    'content-type': 'application/json',
    ...(wanted.idempotencyKey === undefined ? {} : { 'idempotency-key': wanted.idempotencyKey }),
  };
}

/** The answer is JSON, or the last event of a stream. A stream that was cut has none. */
function parseMessage(text: string): McpMessage {
  if (text.startsWith('{')) return JSON.parse(text) as McpMessage;
  const data = text.split('\n').findLast((line) => line.startsWith('data: {'));
  if (data === undefined) throw new Error('The stream ended without an answer.');
  return JSON.parse(data.slice('data: '.length)) as McpMessage;
}
