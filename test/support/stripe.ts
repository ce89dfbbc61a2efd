import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Stripe } from 'stripe';
import type { StripeOptions } from '../../src/billing/stripe.ts';
import {
  closeDispute,
  endRefund,
  ENDPOINTS,
  expireSession,
  find,
  findAccount,
  finishLatePayment,
  newCard,
  openDispute,
  payOnPage,
  refund,
  Refused,
  reverseTransfer,
  snapshot,
  warnFraud,
  type Books,
  type Gone,
  type Outcome,
  type Params,
  type Thing,
} from './stripe-api.ts';

/** A request that reached Stripe; `replayed` when its idempotency key had an answer already. */
export type StripeRequest = {
  method: string;
  path: string;
  params: Params;
  key: string | undefined;
  replayed: boolean;
};

/**
 * What goes wrong with the next requests that match. `lost`: done, and the answer never arrives.
 * `unheard`: the connection breaks before anything is done. `failed`: done, and answered with a 500, which
 * Stripe then repeats for the same idempotency key. `down`: a 503 and nothing done. `forbidden`: the same as a 403.
 */
export type Fault = { on: RegExp; kind: 'lost' | 'unheard' | 'failed' | 'down' | 'forbidden'; times: number };

/** A small stateful Stripe at the wire. Amounts are cents, times Unix seconds, as there. */
export type StripeStandIn = {
  url: string;
  options: StripeOptions;
  requests: StripeRequest[];
  /** Every event so far, oldest first, with the objects as they were at that moment. */
  events: Stripe.Event[];
  /** The current state of anything by its id. */
  get(id: string): Thing;
  all(kind: string): Thing[];
  /** The person on the hosted page pays, is declined, or pays in a way that takes days. */
  pay(sessionId: string, outcome?: Outcome): Thing;
  finishLatePayment(sessionId: string, isPaid: boolean): void;
  expire(sessionId: string): void;
  /** A card on file, and how the next charges of it go. */
  newCard(customerId: string, number?: string): string;
  answerCard(paymentMethodId: string, outcome: Outcome): void;
  refund(intentId: string, cents?: number, status?: 'pending' | 'succeeded'): Thing;
  /** What became of a refund; one that succeeded may still fail. */
  endRefund(refundId: string, status: 'succeeded' | 'failed' | 'canceled'): Thing;
  openDispute(intentId: string, cents?: number, status?: string): Thing;
  /** Any word, also one that Stripe has yet to add. */
  moveDispute(disputeId: string, status: string): Thing;
  closeDispute(disputeId: string, status: 'won' | 'lost'): Thing;
  /** The card's bank reports a payment as fraud, and whether anything can still be done about that. */
  warnFraud(intentId: string, fraudType?: string): Thing;
  endWarning(warningId: string): Thing;
  /** The seller has filled in Stripe's forms, or Stripe wants more. */
  completeOnboarding(accountId: string): void;
  requireMore(accountId: string, requirements: string[], disabledReason?: string): void;
  /** The platform cannot reach the account any more, and Stripe says so like this; undefined: it can again. */
  loseAccount(accountId: string, gone: Gone | undefined): void;
  /** Its owner has disconnected it. Stripe sends the event when it has come to do so. */
  deauthorize(accountId: string, gone?: Gone): void;
  reverseTransfer(transferId: string, cents?: number): Thing;
  /** What the platform has for transfers; undefined: enough. */
  setPlatformCents(cents: number | undefined): void;
  fail(fault: Omit<Fault, 'times'> & { times?: number }): void;
  /** Holds back answers that match: `arrived` is the first such request, `release` lets them go. */
  hold(on: RegExp): { arrived: Promise<void>; release(): void };
  /** The event as Stripe would send it at `atMs`. */
  sign(event: Stripe.Event, atMs?: number): { body: string; headers: Record<string, string> };
  /** Sends the event to a gateway. */
  deliver(event: Stripe.Event, gatewayUrl: string): Promise<Response>;
  close(): Promise<void>;
};

const KEPT_FOR_MS = 24 * 3_600_000;

type Answer = { status: number; body: unknown };
type Kept = { fingerprint: string; answer: Answer | undefined; at: number };

export async function startStripe(
  given: { isLive?: boolean; now?: () => number } = {},
): Promise<StripeStandIn> {
  const now = given.now ?? Date.now;
  const isLive = given.isLive ?? false;
  const webhookSecret = `whsec_${randomBytes(16).toString('hex')}`;
  const signer = new Stripe('sk_test_signer').webhooks;
  const events: Stripe.Event[] = [];
  const requests: StripeRequest[] = [];
  const kept = new Map<string, Kept>();
  const faults: Fault[] = [];
  const holds: { on: RegExp; arrive(): void; gate: Promise<void> }[] = [];
  const server = createServer((request, response) => void serve(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const books: Books = {
    things: new Map(),
    isLive,
    now,
    platformCents: undefined,
    url: () => url,
    emit: (type, thing, account) =>
      events.push({
        id: `evt_${randomBytes(12).toString('hex')}`,
        object: 'event',
        api_version: '2026-10-28.endive',
        created: Math.floor(now() / 1000),
        data: { object: snapshot(thing) },
        livemode: isLive,
        pending_webhooks: 1,
        request: null,
        type,
        ...(account === undefined ? {} : { account }),
      } as unknown as Stripe.Event),
  };

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const method = request.method ?? 'GET';
    const { pathname, search } = new URL(request.url ?? '/', url);
    const body = method === 'GET' ? search.slice(1) : Buffer.concat(chunks).toString();
    const key = request.headers['idempotency-key'] as string | undefined;
    const place = `${method} ${pathname}`;
    const fault = takeFault(place);
    if (fault === 'unheard') return void response.socket?.destroy();
    const refusal =
      fault === 'down'
        ? failure(503, 'Stripe is not available.')
        : fault === 'forbidden'
          ? failure(403, 'The key is not permitted to do this.')
          : undefined;
    const { answer, replayed } = refusal
      ? { answer: refusal, replayed: false }
      : answerOnce(method, pathname, body, key, fault === 'failed');
    requests.push({ method, path: pathname, params: parseForm(body), key, replayed });
    for (const hold of holds.filter(({ on }) => on.test(place))) {
      hold.arrive();
      await hold.gate;
    }
    if (fault === 'lost') return void response.socket?.destroy();
    response.writeHead(answer.status, {
      'content-type': 'application/json',
      'request-id': `req_${randomBytes(7).toString('hex')}`,
      ...(replayed ? { 'idempotent-replayed': 'true' } : {}),
    });
    response.end(JSON.stringify(answer.body));
  }

  function takeFault(place: string): Fault['kind'] | undefined {
    const fault = faults.find(({ on }) => on.test(place));
    if (fault && --fault.times === 0) faults.splice(faults.indexOf(fault), 1);
    return fault?.kind;
  }

  /** The first answer under a key is the answer under that key for a day, errors of work begun included. */
  function answerOnce(
    method: string,
    path: string,
    body: string,
    key: string | undefined,
    isFailed: boolean,
  ): { answer: Answer; replayed: boolean } {
    const fingerprint = `${method} ${path} ${body}`;
    const known = method === 'POST' && key !== undefined ? kept.get(key) : undefined;
    if (known && now() - known.at < KEPT_FOR_MS) {
      if (known.fingerprint === fingerprint && known.answer) return { answer: known.answer, replayed: true };
      const message = 'Keys for idempotent requests can only be used with the same parameters.';
      return {
        answer: { status: 400, body: { error: { type: 'idempotency_error', message } } },
        replayed: false,
      };
    }
    const keep = (answer: Answer): Answer => {
      if (method === 'POST' && key !== undefined) kept.set(key, { fingerprint, answer, at: now() });
      return answer;
    };
    try {
      const done = { status: 200, body: dispatch(method, path, parseForm(body)) };
      return {
        answer: keep(isFailed ? failure(500, 'An unknown error occurred.') : done),
        replayed: false,
      };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const refused = { status: error.status, body: { error: error.body } };
      return { answer: error.isKept ? keep(refused) : refused, replayed: false };
    }
  }

  function dispatch(method: string, path: string, params: Params): unknown {
    const expanded = Object.values((params['expand'] ?? {}) as Params).map(String);
    for (const endpoint of ENDPOINTS) {
      const match = endpoint.method === method ? endpoint.path.exec(path) : null;
      if (match) return expand(snapshot(endpoint.answer(books, params, match[1] ?? '')), expanded);
    }
    const place = /^\/v1\/(checkout\/sessions|radar\/early_fraud_warnings|[a-z_]+)(?:\/(\w+))?$/.exec(path);
    const kind = KINDS[place?.[1] ?? ''];
    if (method !== 'GET' || !kind) {
      throw new Refused(404, {
        type: 'invalid_request_error',
        message: `Unrecognized request URL (${method}: ${path}).`,
      });
    }
    if (kind === 'account' && place?.[2] !== undefined) return snapshot(findAccount(books, place[2]));
    if (place?.[2] !== undefined) return expand(snapshot(find(books, place[2], kind)), expanded);
    return list(kind, params, path, expanded);
  }

  function list(kind: string, params: Params, path: string, expanded: string[]): unknown {
    const { limit = '10', starting_after: after, ending_before: _, expand: __, created, ...filters } = params;
    const range = (created ?? {}) as Params;
    const all = [...books.things.values()]
      .filter((thing) => thing.object === kind)
      .reverse()
      .filter(
        (thing) =>
          Object.entries(filters).every(([name, value]) => thing[name] === value) &&
          thing.created >= Number(range['gte'] ?? 0) &&
          thing.created <= Number(range['lte'] ?? Number.MAX_SAFE_INTEGER),
      );
    const from = after === undefined ? 0 : all.findIndex((thing) => thing.id === after) + 1;
    const data = all.slice(from, from + Number(limit)).map((thing) =>
      expand(
        snapshot(thing),
        expanded.map((place) => place.replace(/^data\./, '')),
      ),
    );
    return { object: 'list', url: path, has_more: from + data.length < all.length, data };
  }

  function expand(thing: Thing, places: string[]): Thing {
    for (const place of places) {
      let at: Record<string, unknown> = thing;
      for (const step of place.split('.')) {
        const value = at[step];
        if (typeof value === 'string') at[step] = snapshot(find(books, value));
        if (typeof at[step] !== 'object' || at[step] === null) break;
        at = at[step] as Record<string, unknown>;
      }
    }
    return thing;
  }

  const standIn: StripeStandIn = {
    url,
    options: {
      secretKey: `sk_${isLive ? 'live' : 'test'}_standin`,
      webhookSecrets: [webhookSecret],
      apiBase: url,
    },
    requests,
    events,
    get: (id) => find(books, id),
    all: (kind) => [...books.things.values()].filter((thing) => thing.object === kind),
    pay: (id, outcome = 'paid') => payOnPage(books, id, outcome),
    finishLatePayment: (id, isPaid) => finishLatePayment(books, id, isPaid),
    expire: (id) => void expireSession(books, id),
    newCard: (customer, number) => newCard(books, customer, number),
    answerCard: (id, outcome) => void (find(books, id, 'payment_method')['next'] = outcome),
    refund: (id, cents, status) => refund(books, find(books, id, 'payment_intent'), cents, status),
    endRefund: (id, status) => endRefund(books, id, status),
    openDispute: (id, cents, status) => openDispute(books, find(books, id, 'payment_intent'), cents, status),
    moveDispute: (id, status) => {
      const dispute = Object.assign(find(books, id, 'dispute'), { status });
      books.emit('charge.dispute.updated', dispute);
      return dispute;
    },
    closeDispute: (id, status) => closeDispute(books, id, status),
    warnFraud: (id, fraudType) => warnFraud(books, find(books, id, 'payment_intent'), fraudType),
    endWarning: (id) => {
      const warning = Object.assign(find(books, id, 'radar.early_fraud_warning'), { actionable: false });
      books.emit('radar.early_fraud_warning.updated', warning);
      return warning;
    },
    completeOnboarding: (id) => {
      const account = Object.assign(find(books, id, 'account'), {
        charges_enabled: true,
        details_submitted: true,
        payouts_enabled: true,
        capabilities: { transfers: 'active' },
        requirements: { currently_due: [], past_due: [], disabled_reason: null },
      });
      books.emit('account.updated', account, id);
    },
    loseAccount: (id, gone) => void (find(books, id, 'account')['gone'] = gone),
    deauthorize: (id, gone = 403) => {
      find(books, id, 'account')['gone'] = gone;
      books.emit(
        'account.application.deauthorized',
        { id: 'ca_platform', object: 'application', created: 0 },
        id,
      );
    },
    requireMore: (id, requirements, disabledReason = 'requirements.past_due') => {
      const account = Object.assign(find(books, id, 'account'), {
        payouts_enabled: false,
        capabilities: { transfers: 'inactive' },
        requirements: {
          currently_due: requirements,
          past_due: requirements,
          disabled_reason: disabledReason,
        },
      });
      books.emit('account.updated', account, id);
    },
    reverseTransfer: (id, cents) => reverseTransfer(books, id, cents),
    setPlatformCents: (cents) => void (books.platformCents = cents),
    fail: (fault) => void faults.push({ times: 1, ...fault }),
    hold: (on) => {
      const arrived = Promise.withResolvers<void>();
      const gate = Promise.withResolvers<void>();
      const held = { on, arrive: arrived.resolve, gate: gate.promise };
      holds.push(held);
      return {
        arrived: arrived.promise,
        release: () => {
          holds.splice(holds.indexOf(held), 1);
          gate.resolve();
        },
      };
    },
    sign: (event, atMs = now()) => {
      const body = JSON.stringify(event);
      const timestamp = Math.floor(atMs / 1000);
      const header = signer.generateTestHeaderString({ payload: body, secret: webhookSecret, timestamp });
      return { body, headers: { 'stripe-signature': header, 'content-type': 'application/json' } };
    },
    deliver: (event, gatewayUrl) => {
      const { body, headers } = standIn.sign(event);
      return fetch(`${gatewayUrl}/v1/billing/webhooks/stripe`, { method: 'POST', headers, body });
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return standIn;
}

const KINDS: Record<string, string> = {
  customers: 'customer',
  'checkout/sessions': 'checkout.session',
  payment_intents: 'payment_intent',
  payment_methods: 'payment_method',
  charges: 'charge',
  refunds: 'refund',
  disputes: 'dispute',
  'radar/early_fraud_warnings': 'radar.early_fraud_warning',
  invoices: 'invoice',
  accounts: 'account',
  transfers: 'transfer',
};

function failure(status: number, message: string): Answer {
  return { status, body: { error: { type: 'api_error', message } } };
}

/** `a[b][0]=c` → { a: { b: { 0: 'c' } } } */
function parseForm(body: string): Params {
  const params: Params = {};
  for (const [name, value] of new URLSearchParams(body)) {
    const steps = name.split(/[[\]]+/).filter((step) => step !== '');
    const last = steps.pop() ?? name;
    let at = params;
    for (const step of steps) {
      at[step] ??= {};
      at = at[step] as Params;
    }
    at[last] = value;
  }
  return params;
}
