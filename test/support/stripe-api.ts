import { randomBytes } from 'node:crypto';

/** Form parameters, nested as their brackets say. */
export type Params = { [name: string]: string | Params };
/** Anything Stripe keeps: it has an id, a kind and a time. */
export type Thing = { id: string; object: string; created: number; [member: string]: unknown };

/** Refused, as Stripe says so. `isKept`: the endpoint had begun, so its idempotency key stands for this. */
export class Refused extends Error {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly isKept: boolean;
  constructor(status: number, body: Record<string, unknown>, isKept = false) {
    super(String(body['message']));
    this.status = status;
    this.body = body;
    this.isKept = isKept;
  }
}

/** What the endpoints work on. */
export type Books = {
  things: Map<string, Thing>;
  isLive: boolean;
  now(): number;
  emit(type: string, thing: Thing, account?: string): void;
  /** Cents the platform has for transfers; undefined: enough. */
  platformCents: number | undefined;
  url(): string;
};

export function find(books: Books, id: string, kind?: string): Thing {
  const thing = books.things.get(id);
  if (thing && (kind === undefined || thing.object === kind)) return thing;
  throw new Refused(404, {
    type: 'invalid_request_error',
    code: 'resource_missing',
    param: 'id',
    message: `No such ${kind ?? 'object'}: '${id}'`,
  });
}

/** How Stripe speaks of an account that is not this platform's any more. */
export type Gone = 400 | 403 | 404 | 'deleted';

/** A connected account, as the platform may still see it. */
export function findAccount(books: Books, id: string, isDestination = false): Thing {
  const gone = books.things.get(id)?.['gone'] as Gone | undefined;
  if (gone === undefined) return find(books, id, 'account');
  // Stripe shows a deleted account to those who retrieve it, and pays it no more than any other that is gone.
  if (gone === 'deleted' && !isDestination) return { id, object: 'account', created: 0, deleted: true };
  const status = gone === 'deleted' ? 400 : gone;
  throw new Refused(
    status,
    {
      type: 'invalid_request_error',
      code: status === 403 ? 'account_invalid' : 'resource_missing',
      message:
        status === 403
          ? `The provided key does not have access to account '${id}' (or that account does not exist). Application access may have been revoked.`
          : `No such ${isDestination ? 'destination' : 'account'}: '${id}'`,
    },
    isDestination,
  );
}

/** Files a new thing. */
export function put(books: Books, object: string, prefix: string, members: Record<string, unknown>): Thing {
  const id = `${prefix}_${randomBytes(12).toString('hex')}`;
  const created = Math.floor(books.now() / 1000);
  const thing: Thing = { id, object, created, livemode: books.isLive, metadata: {}, ...members };
  books.things.set(id, thing);
  return thing;
}

type Endpoint = { method: string; path: RegExp; answer(books: Books, params: Params, id: string): Thing };

/** The endpoints that do something; retrieving and listing is the same for all. */
export const ENDPOINTS: Endpoint[] = [
  {
    method: 'POST',
    path: /^\/v1\/customers$/,
    answer: (books, params) =>
      put(books, 'customer', 'cus', {
        name: params['name'] ?? null,
        email: params['email'] ?? null,
        metadata: params['metadata'] ?? {},
      }),
  },
  { method: 'POST', path: /^\/v1\/checkout\/sessions$/, answer: createSession },
  {
    method: 'POST',
    path: /^\/v1\/checkout\/sessions\/(\w+)\/expire$/,
    answer: (books, _, id) => expireSession(books, id),
  },
  { method: 'POST', path: /^\/v1\/payment_intents$/, answer: createIntent },
  {
    method: 'POST',
    path: /^\/v1\/payment_intents\/(\w+)\/cancel$/,
    answer: (books, _, id) => {
      const intent = Object.assign(find(books, id, 'payment_intent'), { status: 'canceled' });
      books.emit('payment_intent.canceled', intent);
      return intent;
    },
  },
  {
    method: 'POST',
    path: /^\/v1\/payment_methods\/(\w+)\/detach$/,
    answer: (books, _, id) => Object.assign(find(books, id, 'payment_method'), { customer: null }),
  },
  {
    method: 'POST',
    path: /^\/v1\/refunds$/,
    answer: (books, params) => {
      const intent = find(books, text(params, 'payment_intent'), 'payment_intent');
      return refund(books, intent, params['amount'] === undefined ? undefined : Number(params['amount']));
    },
  },
  {
    method: 'POST',
    path: /^\/v1\/accounts$/,
    answer: (books, params) =>
      put(books, 'account', 'acct', {
        type: params['type'] ?? 'standard',
        country: params['country'] ?? 'US',
        email: params['email'] ?? null,
        metadata: params['metadata'] ?? {},
        charges_enabled: false,
        details_submitted: false,
        payouts_enabled: false,
        capabilities: { transfers: 'inactive' },
        requirements: {
          currently_due: ['external_account', 'individual.verification.document'],
          past_due: [],
          disabled_reason: 'requirements.past_due',
        },
      }),
  },
  {
    method: 'POST',
    path: /^\/v1\/account_links$/,
    answer: (books, params) => {
      const account = findAccount(books, text(params, 'account'));
      text(params, 'return_url');
      text(params, 'refresh_url');
      const created = Math.floor(books.now() / 1000);
      const url = `${books.url()}/setup/e/${account.id}/${randomBytes(4).toString('hex')}`;
      return { id: '', object: 'account_link', created, expires_at: created + 300, url };
    },
  },
  { method: 'POST', path: /^\/v1\/transfers$/, answer: createTransfer },
  {
    method: 'POST',
    path: /^\/v1\/transfers\/(\w+)\/reversals$/,
    answer: (books, params, id) =>
      reverseTransfer(books, id, params['amount'] === undefined ? undefined : Number(params['amount'])),
  },
];

function createSession(books: Books, params: Params): Thing {
  const lines = Object.values((params['line_items'] ?? {}) as Params) as Params[];
  if (lines.length === 0) throw missing('line_items');
  const amount = lines.reduce((sum, line) => {
    const price = (line['price_data'] ?? {}) as Params;
    return sum + Number(price['unit_amount']) * Number(line['quantity']);
  }, 0);
  const created = Math.floor(books.now() / 1000);
  const expires = params['expires_at'] === undefined ? created + 86_400 : Number(params['expires_at']);
  if (expires < created + 1_800 || expires > created + 86_400) {
    throw new Refused(400, {
      type: 'invalid_request_error',
      param: 'expires_at',
      message: 'The `expires_at` timestamp must be between 30 minutes and 24 hours from now.',
    });
  }
  const session = put(books, 'checkout.session', `cs_${books.isLive ? 'live' : 'test'}`, {
    mode: text(params, 'mode'),
    status: 'open',
    payment_status: 'unpaid',
    amount_subtotal: amount,
    amount_total: amount,
    currency: 'usd',
    client_reference_id: params['client_reference_id'] ?? null,
    customer: params['customer'] ?? null,
    expires_at: expires,
    success_url: text(params, 'success_url'),
    cancel_url: params['cancel_url'] ?? null,
    metadata: params['metadata'] ?? {},
    payment_intent: null,
    invoice: null,
    // What Stripe keeps to itself until the payment is made.
    asked: params,
  });
  return Object.assign(session, { url: `${books.url()}/c/pay/${session.id}` });
}

export function expireSession(books: Books, id: string): Thing {
  const session = find(books, id, 'checkout.session');
  if (session['status'] !== 'open')
    throw conflict('Only Checkout Sessions with a status of open can expire.');
  Object.assign(session, { status: 'expired', url: null });
  books.emit('checkout.session.expired', session);
  return session;
}

/** How the payment of a session or of a saved card goes. */
export type Outcome = 'paid' | 'declined' | 'processing';

/** The person on the hosted page presses "Pay". A decline leaves the page open for another card. */
export function payOnPage(books: Books, id: string, outcome: Outcome): Thing {
  const session = find(books, id, 'checkout.session');
  if (session['status'] !== 'open') throw conflict('This page is no longer open.');
  const asked = session['asked'] as Params;
  const of = (asked['payment_intent_data'] ?? {}) as Params;
  const known = session['hidden_intent'] as string | undefined;
  const intent = known
    ? find(books, known)
    : newIntent(books, Number(session['amount_total']), session['customer'], {
        metadata: of['metadata'] ?? {},
        setup_future_usage: of['setup_future_usage'] ?? null,
      });
  session['hidden_intent'] = intent.id;
  attempt(books, intent, newCard(books, String(session['customer'])), outcome);
  if (outcome === 'declined') return intent;

  Object.assign(session, { status: 'complete', payment_intent: intent.id, url: null });
  const invoicing = (asked['invoice_creation'] ?? {}) as Params;
  if (outcome === 'paid') {
    session['payment_status'] = 'paid';
    if (invoicing['enabled'] === 'true') invoice(books, session, invoicing);
  }
  books.emit('checkout.session.completed', session);
  return intent;
}

/** A payment that took its time arrives, or does not. */
export function finishLatePayment(books: Books, id: string, isPaid: boolean): void {
  const session = find(books, id, 'checkout.session');
  const intent = find(books, String(session['payment_intent']));
  attempt(books, intent, String(intent['payment_method']), isPaid ? 'paid' : 'declined');
  if (isPaid) session['payment_status'] = 'paid';
  books.emit(`checkout.session.async_payment_${isPaid ? 'succeeded' : 'failed'}`, session);
}

function invoice(books: Books, session: Thing, invoicing: Params): void {
  const made = put(books, 'invoice', 'in', {
    customer: session['customer'],
    metadata: ((invoicing['invoice_data'] ?? {}) as Params)['metadata'] ?? {},
    status: 'paid',
    currency: 'usd',
    amount_paid: session['amount_total'],
  });
  made['hosted_invoice_url'] = `${books.url()}/i/${made.id}`;
  session['invoice'] = made.id;
  books.emit('invoice.paid', made);
}

export function newCard(books: Books, customer: string, number = '4242'): string {
  const card = { brand: 'visa', last4: number.slice(-4), exp_month: 12, exp_year: 2030 };
  return put(books, 'payment_method', 'pm', { type: 'card', customer, card }).id;
}

function createIntent(books: Books, params: Params): Thing {
  const amount = Number(text(params, 'amount'));
  if (text(params, 'currency') !== 'usd') throw missing('currency');
  const of = { metadata: params['metadata'] ?? {}, description: params['description'] ?? null };
  const intent = newIntent(books, amount, params['customer'] ?? null, of);
  if (params['confirm'] !== 'true') return intent;
  const card = find(books, text(params, 'payment_method'), 'payment_method');
  if (card['customer'] !== params['customer']) {
    throw new Refused(400, {
      type: 'invalid_request_error',
      message: 'The payment method does not belong to the customer you supplied.',
    });
  }
  const outcome = (card['next'] as Outcome | undefined) ?? 'paid';
  attempt(books, intent, card.id, outcome);
  if (outcome !== 'declined') return intent;
  const error = intent['last_payment_error'] as Record<string, unknown>;
  throw new Refused(402, { ...error, payment_intent: snapshot(intent) }, true);
}

function newIntent(books: Books, amount: number, customer: unknown, of: Record<string, unknown>): Thing {
  return put(books, 'payment_intent', 'pi', {
    amount,
    amount_received: 0,
    currency: 'usd',
    customer,
    status: 'requires_payment_method',
    payment_method: null,
    latest_charge: null,
    last_payment_error: null,
    setup_future_usage: null,
    ...of,
  });
}

function attempt(books: Books, intent: Thing, cardId: string, outcome: Outcome): void {
  const card = find(books, cardId, 'payment_method');
  if (outcome === 'processing') {
    Object.assign(intent, { status: 'processing', payment_method: cardId });
    return;
  }
  const isPaid = outcome === 'paid';
  const charge = put(books, 'charge', 'ch', {
    amount: intent['amount'],
    amount_captured: isPaid ? intent['amount'] : 0,
    amount_refunded: 0,
    captured: isPaid,
    currency: 'usd',
    customer: intent['customer'],
    disputed: false,
    metadata: intent['metadata'],
    paid: isPaid,
    payment_intent: intent.id,
    payment_method: cardId,
    payment_method_details: { type: 'card', card: card['card'] },
    receipt_url: isPaid ? `${books.url()}/receipts/${intent.id}` : null,
    refunded: false,
    status: isPaid ? 'succeeded' : 'failed',
  });
  intent['latest_charge'] = charge.id;
  if (isPaid) {
    Object.assign(intent, {
      status: 'succeeded',
      amount_received: intent['amount'],
      payment_method: cardId,
      last_payment_error: null,
    });
    books.emit('charge.succeeded', charge);
    books.emit('payment_intent.succeeded', intent);
    return;
  }
  const error = { type: 'card_error', code: 'card_declined', decline_code: 'insufficient_funds' };
  intent['status'] = 'requires_payment_method';
  intent['payment_method'] = null;
  intent['last_payment_error'] = { ...error, message: 'Your card has insufficient funds.' };
  books.emit('charge.failed', charge);
  books.emit('payment_intent.payment_failed', intent);
}

/** Gives money back to the card: what is left, or part of it. A pending one is in the charge's total too. */
export function refund(
  books: Books,
  intent: Thing,
  cents?: number,
  status: 'pending' | 'succeeded' = 'succeeded',
): Thing {
  const charge = find(books, String(intent['latest_charge']), 'charge');
  const left = Number(charge['amount_captured']) - Number(charge['amount_refunded']);
  const amount = cents ?? left;
  if (amount <= 0 || amount > left) throw conflict('The refund is greater than what is left of the charge.');
  addRefunded(charge, amount);
  const refunded = put(books, 'refund', 're', {
    amount,
    charge: charge.id,
    currency: 'usd',
    payment_intent: intent.id,
    status,
  });
  books.emit('refund.created', refunded);
  books.emit('charge.refunded', charge);
  return refunded;
}

/**
 * The bank has taken the refund, has given it back (also weeks after it succeeded), or it was canceled before it
 * got there. In the last two cases the charge can be refunded anew.
 */
export function endRefund(books: Books, id: string, status: 'succeeded' | 'failed' | 'canceled'): Thing {
  const refunded = find(books, id, 'refund');
  const before = refunded['status'];
  if (before !== 'pending' && !(before === 'succeeded' && status === 'failed')) {
    throw conflict(`This refund is ${String(before)} and cannot become ${status}.`);
  }
  refunded['status'] = status;
  if (status !== 'succeeded') {
    refunded['failure_reason'] = status === 'failed' ? 'expired_or_canceled_card' : 'merchant_request';
    addRefunded(find(books, String(refunded['charge']), 'charge'), -Number(refunded['amount']));
  }
  if (status === 'failed') books.emit('refund.failed', refunded);
  books.emit('refund.updated', refunded);
  books.emit('charge.refund.updated', refunded);
  return refunded;
}

function addRefunded(charge: Thing, cents: number): void {
  charge['amount_refunded'] = Number(charge['amount_refunded']) + cents;
  charge['refunded'] = charge['amount_refunded'] === charge['amount_captured'];
}

export function openDispute(books: Books, intent: Thing, cents?: number, status = 'needs_response'): Thing {
  const charge = find(books, String(intent['latest_charge']), 'charge');
  charge['disputed'] = true;
  const amount = cents ?? Number(charge['amount_captured']);
  const dispute = put(books, 'dispute', 'du', {
    amount,
    charge: charge.id,
    currency: 'usd',
    payment_intent: intent.id,
    reason: 'fraudulent',
    // An inquiry takes no money.
    balance_transactions: status.startsWith('warning_') ? [] : [{ amount: -amount }],
    status,
  });
  books.emit('charge.dispute.created', dispute);
  if (!status.startsWith('warning_')) books.emit('charge.dispute.funds_withdrawn', dispute);
  return dispute;
}

export function closeDispute(books: Books, id: string, status: 'won' | 'lost'): Thing {
  const dispute = Object.assign(find(books, id, 'dispute'), { status });
  books.emit('charge.dispute.closed', dispute);
  return dispute;
}

export function warnFraud(books: Books, intent: Thing, fraudType = 'made_with_stolen_card'): Thing {
  const warning = put(books, 'radar.early_fraud_warning', 'issfr', {
    actionable: true,
    charge: intent['latest_charge'],
    fraud_type: fraudType,
    payment_intent: intent.id,
  });
  books.emit('radar.early_fraud_warning.created', warning);
  return warning;
}

function createTransfer(books: Books, params: Params): Thing {
  const amount = Number(text(params, 'amount'));
  const account = findAccount(books, text(params, 'destination'), true);
  if ((account['capabilities'] as { transfers: string }).transfers !== 'active') {
    const message =
      'Your destination account needs to have at least one of the following capabilities enabled: transfers.';
    const code = 'insufficient_capabilities_for_transfer';
    throw new Refused(400, { type: 'invalid_request_error', code, message }, true);
  }
  if (books.platformCents !== undefined && amount > books.platformCents) {
    const message = 'You have insufficient available funds in your Stripe account.';
    throw new Refused(400, { type: 'invalid_request_error', code: 'balance_insufficient', message }, true);
  }
  if (books.platformCents !== undefined) books.platformCents -= amount;
  const transfer = put(books, 'transfer', 'tr', {
    amount,
    amount_reversed: 0,
    currency: text(params, 'currency'),
    destination: account.id,
    description: params['description'] ?? null,
    metadata: params['metadata'] ?? {},
    reversed: false,
    transfer_group: params['transfer_group'] ?? null,
  });
  books.emit('transfer.created', transfer);
  return transfer;
}

export function reverseTransfer(books: Books, id: string, cents?: number): Thing {
  const transfer = find(books, id, 'transfer');
  const left = Number(transfer['amount']) - Number(transfer['amount_reversed']);
  transfer['amount_reversed'] = Number(transfer['amount_reversed']) + (cents ?? left);
  transfer['reversed'] = transfer['amount_reversed'] === transfer['amount'];
  if (books.platformCents !== undefined) books.platformCents += cents ?? left;
  books.emit('transfer.reversed', transfer);
  return transfer;
}

/** The thing as it is now, without what Stripe would not show. */
export function snapshot(thing: Thing): Thing {
  const { asked: _, hidden_intent: __, next: ___, gone: ____, ...shown } = structuredClone(thing);
  return shown;
}

function text(params: Params, name: string): string {
  const value = params[name];
  if (typeof value === 'string' && value !== '') return value;
  throw missing(name);
}

function missing(name: string): Refused {
  return new Refused(400, {
    type: 'invalid_request_error',
    code: 'parameter_missing',
    param: name,
    message: `Missing required param: ${name}.`,
  });
}

function conflict(message: string): Refused {
  return new Refused(400, { type: 'invalid_request_error', message });
}
