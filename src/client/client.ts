import type { Json, JsonObject } from '../base/json.ts';
import type { Fault } from '../base/problem.ts';
import type { AgentDetailAnswer, AgentSearchAnswer } from '../http/agents.ts';
import type { BalanceBody, TransactionBody } from '../http/billing.ts';
import type { CallBody, CallWithResultBody } from '../http/calls.ts';
import type { GrantedBody } from '../http/credits.ts';
import type { CallAnswerBody } from '../http/call-answer.ts';
import type { IssuedKeyBody, KeyBody, KeyWishBody } from '../http/keys.ts';
import type { OrganizationBody } from '../http/organizations.ts';
import type { ProofBody } from '../http/proofs.ts';
import type {
  AgentRecordAnswer,
  PublishedAnswer,
  StandingAnswer,
  VerifiedAnswer,
} from '../http/publishing.ts';
import type { ReceiptBody, ReceiptPageBody } from '../http/receipts.ts';
import type { ReconciliationBody } from '../http/reconciliation.ts';
import type { StatusBody } from '../http/status.ts';
import type { HealthBody, ReadinessBody } from '../http/system.ts';
import { ApiProblem, GatewayAway } from './failures.ts';

export type { AgentRecordAnswer, CallBody, KeyBody, OrganizationBody, StatusBody };
export type { AgentDetailAnswer, CallWithResultBody, ReadinessBody, ReconciliationBody };

export type Page<Item> = { items: Item[]; next_cursor: string | null };
type PageQuery = { limit?: number | undefined; cursor?: string | undefined };

/** What the gateway offers over REST. Every method throws `ApiProblem` when refused, or `GatewayAway`. */
export type Client = ReturnType<typeof createClient>;

export type ClientOptions = {
  /** The gateway's origin, such as `http://127.0.0.1:8787`. */
  url: string;
  /** Without one only what is public answers. */
  apiKey?: string | undefined;
  timeoutMs?: number;
};

const TIMEOUT_MS = 30_000;

export function createClient(options: ClientOptions) {
  const call = <Answer>(method: string, path: string, extra: Extra = {}): Promise<Answer> =>
    send(options, method, path, extra).then(({ body }) => body as Answer);
  const id = encodeURIComponent;

  return {
    health: () => call<HealthBody>('GET', '/health'),
    /** Also answers when the gateway says that it is not ready. `date` is the gateway's clock. */
    ready: async (): Promise<ReadinessBody & { date: Date | undefined }> => {
      const { body, headers } = await send(options, 'GET', '/ready', { accepts: [503] });
      const date = headers.get('date');
      return { ...(body as ReadinessBody), date: date === null ? undefined : new Date(date) };
    },
    /** The public keys receipts and proofs are checked with. */
    keySet: () => call<object>('GET', '/.well-known/jwks.json'),
    status: () => call<StatusBody>('GET', '/v1/status'),
    reconciliation: (query: { limit?: number } = {}) =>
      call<ReconciliationBody>('GET', '/v1/reconciliation', { query }),
    organizations: {
      create: (name: string) => call<OrganizationBody>('POST', '/v1/orgs', { body: { name } }),
      list: (query: PageQuery = {}) => call<Page<OrganizationBody>>('GET', '/v1/orgs', { query }),
    },
    keys: {
      create: (wish: KeyWishBody) => call<IssuedKeyBody>('POST', '/v1/keys', { body: wish }),
      list: (query: PageQuery & { organization_id?: string | undefined } = {}) =>
        call<Page<KeyBody>>('GET', '/v1/keys', { query }),
      revoke: (keyId: string) => call<KeyBody>('DELETE', `/v1/keys/${id(keyId)}`),
    },
    credits: {
      grant: (grant: { organization_id: string; amount: string; test?: boolean; grant_id?: string }) =>
        call<GrantedBody>('POST', '/v1/credits/grants', { body: grant }),
    },
    agents: {
      search: (query: Query = {}) => call<AgentSearchAnswer>('GET', '/v1/agents/search', { query }),
      get: (agentId: string, query: Query = {}) =>
        call<AgentDetailAnswer>('GET', `/v1/agents/${id(agentId)}`, { query }),
      list: (query: PageQuery & { organization_id?: string | undefined } = {}) =>
        call<Page<AgentRecordAnswer>>('GET', '/v1/agents', { query }),
      publish: (publication: { manifest: Json; organization_id?: string | undefined }) =>
        call<PublishedAnswer>('POST', '/v1/agents', { body: publication }),
      verify: (agentId: string, trustScore: number) =>
        call<VerifiedAnswer>('POST', `/v1/agents/${id(agentId)}/verification`, {
          body: { trust_score: trustScore },
        }),
      suspend: (agentId: string) => call<StandingAnswer>('PUT', `/v1/agents/${id(agentId)}/suspension`),
      resume: (agentId: string) => call<StandingAnswer>('DELETE', `/v1/agents/${id(agentId)}/suspension`),
      invoke: (
        agentId: string,
        invocation: { inputs: JsonObject; idempotency_key?: string; max_credits?: string },
      ) => call<CallAnswerBody>('POST', `/v1/agents/${id(agentId)}/invoke`, { body: invocation }),
    },
    calls: {
      get: (callId: string) => call<CallWithResultBody>('GET', `/v1/calls/${id(callId)}`),
      list: (query: PageQuery & { agent_id?: string | undefined; outcome?: string | undefined } = {}) =>
        call<Page<CallBody>>('GET', '/v1/calls', { query }),
    },
    billing: {
      balance: () => call<BalanceBody>('GET', '/v1/billing/balance'),
      transactions: (query: Query = {}) =>
        call<Page<TransactionBody>>('GET', '/v1/billing/transactions', { query }),
      receipt: (callId: string) => call<ReceiptBody>('GET', `/v1/billing/receipts/${id(callId)}`),
      receipts: (query: PageQuery & { from_seq?: number } = {}) =>
        call<ReceiptPageBody>('GET', '/v1/billing/receipts', { query }),
      proof: (day?: string) => call<ProofBody>('GET', '/v1/billing/proof', { query: { day } }),
    },
  };
}

type Query = Record<string, string | number | undefined>;
type Extra = { query?: Query; body?: unknown; accepts?: number[] };

async function send(
  { url, apiKey, timeoutMs = TIMEOUT_MS }: ClientOptions,
  method: string,
  path: string,
  { query = {}, body, accepts = [] }: Extra,
): Promise<{ body: unknown; headers: Headers }> {
  const target = new URL(path, url);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) target.searchParams.set(name, String(value));
  }
  const response = await fetch(target, {
    method,
    headers: {
      accept: 'application/json',
      ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    // What is not an answer of ours must not be followed with a key in hand.
    redirect: 'error',
    signal: AbortSignal.timeout(timeoutMs),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  }).catch((error: unknown) => {
    throw new GatewayAway(url, error);
  });
  const answer = await response.json().catch(() => undefined);
  if (response.ok || accepts.includes(response.status)) {
    // Every answer of a gateway carries a request id; whatever else listens there sends none.
    if (answer !== undefined && response.headers.has('x-request-id')) {
      return { body: answer, headers: response.headers };
    }
    throw new GatewayAway(url, new Error(`status ${response.status} that is not Sentinel's`));
  }
  throw readProblem(url, response, answer);
}

function readProblem(url: string, response: Response, answer: unknown): Error {
  const body = answer as
    { code?: string; detail?: string; faults?: Fault[]; request_id?: string } | undefined;
  if (typeof body?.code !== 'string') {
    return new GatewayAway(url, new Error(`status ${response.status} that is not Sentinel's`));
  }
  return new ApiProblem({
    status: response.status,
    code: body.code,
    detail: body.detail ?? response.statusText,
    faults: body.faults ?? [],
    requestId: body.request_id,
  });
}
