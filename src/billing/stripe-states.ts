import type { Stripe } from 'stripe';

/**
 * One state Stripe can put an object in: what we store for it, which is what the money follows; what its owner
 * is told it means; and what the owner can do about it, null where there is nothing to do.
 */
export type StripeState<Stored extends string> = { stored: Stored; shown: string; next: string | null };

/** The states the SDK names. It joins them with `string`, for those Stripe adds later. */
type Named<Status> = Status extends string ? (string extends Status ? never : Status) : never;
type Table<Status, Stored extends string> = Record<Named<Status>, StripeState<Stored>>;

const PAY_AGAIN = 'Start a new load.';
const WAIT = 'Wait; a job asks Stripe again every 15 minutes.';

type SessionState =
  `${Named<Stripe.Checkout.Session.Status>}.${Named<Stripe.Checkout.Session.PaymentStatus>}`;

/** A payment page: `status.payment_status`. */
export const CHECKOUT_SESSION: Record<SessionState, StripeState<'open' | 'paid' | 'abandoned'>> = {
  'open.unpaid': {
    stored: 'open',
    shown: 'The payment page waits for a person.',
    next: 'Pay at payment_url.',
  },
  'open.paid': { stored: 'paid', shown: 'The payment went through.', next: null },
  'open.no_payment_required': {
    stored: 'open',
    shown: 'The payment page waits for a person.',
    next: 'Pay at payment_url.',
  },
  'complete.unpaid': {
    stored: 'open',
    shown: 'The page was completed with a way to pay that takes days.',
    next: 'Wait; credits come when the money has.',
  },
  'complete.paid': { stored: 'paid', shown: 'The payment went through.', next: null },
  'complete.no_payment_required': {
    stored: 'abandoned',
    shown: 'The page was completed and nothing was charged, so it bought nothing.',
    next: PAY_AGAIN,
  },
  'expired.unpaid': {
    stored: 'abandoned',
    shown: 'The payment page expired before it was paid.',
    next: PAY_AGAIN,
  },
  'expired.paid': { stored: 'paid', shown: 'The payment went through.', next: null },
  'expired.no_payment_required': {
    stored: 'abandoned',
    shown: 'The payment page expired before it was paid.',
    next: PAY_AGAIN,
  },
};

export const PAYMENT_INTENT: Table<Stripe.PaymentIntent.Status, 'open' | 'paid' | 'abandoned'> = {
  requires_payment_method: {
    stored: 'open',
    shown: 'The card was declined, or none was given yet.',
    next: 'Pay at payment_url with another card; for automatic loads save another card with a new load.',
  },
  requires_confirmation: {
    stored: 'open',
    shown: 'A card was given and not charged yet.',
    next: 'Pay at payment_url.',
  },
  requires_action: {
    stored: 'open',
    shown: "The card's bank wants its owner to confirm the payment.",
    next: 'Confirm at payment_url.',
  },
  requires_capture: { stored: 'open', shown: 'The card was authorised and not charged.', next: WAIT },
  processing: { stored: 'open', shown: 'The payment is on its way, which may take days.', next: WAIT },
  canceled: {
    stored: 'abandoned',
    shown: 'The payment was canceled; nothing was charged.',
    next: PAY_AGAIN,
  },
  succeeded: { stored: 'paid', shown: 'The payment went through.', next: null },
};

export const REFUND: Record<
  'pending' | 'requires_action' | 'succeeded' | 'canceled' | 'failed',
  StripeState<'pending' | 'succeeded' | 'canceled' | 'failed'>
> = {
  pending: {
    stored: 'pending',
    shown: 'On its way to the card; its credits are taken already.',
    next: 'Wait; a bank takes up to ten days.',
  },
  requires_action: {
    stored: 'pending',
    shown:
      'Stripe has asked the owner of the payment by e-mail where to send the money; its credits are taken.',
    next: "Answer Stripe's e-mail.",
  },
  succeeded: { stored: 'succeeded', shown: 'The card got it; its credits are taken.', next: null },
  canceled: {
    stored: 'canceled',
    shown: 'Canceled before the card got it; its credits are given back.',
    next: 'Ask the operator, if you still want the money.',
  },
  failed: {
    stored: 'failed',
    shown: 'The bank did not take it, or sent it back; its credits are given back.',
    next: 'Ask the operator for the money in another way.',
  },
};

const INQUIRY = {
  stored: 'inquiry',
  shown: "The card's bank asks about the payment. No money was taken and no credits are frozen.",
  next: 'Tell your bank that the payment is yours, or ask the operator for a refund.',
} as const;
const CONTESTED = {
  stored: 'open',
  shown: 'The card has taken the payment back for now; its credits are frozen, as far as they are there.',
  next: 'Withdraw the dispute at your bank if the payment is yours; the credits come back when it is won.',
} as const;

/** A card dispute (chargeback). `prevented` counts as lost where the network gave money back. */
export const CARD_DISPUTE: Table<Stripe.Dispute.Status, 'inquiry' | 'open' | 'won' | 'lost'> = {
  warning_needs_response: INQUIRY,
  warning_under_review: INQUIRY,
  warning_closed: {
    stored: 'inquiry',
    shown: "The bank's question was answered and became no dispute.",
    next: null,
  },
  needs_response: CONTESTED,
  under_review: CONTESTED,
  appeal_needs_response: CONTESTED,
  appeal_under_review: CONTESTED,
  prevented: { stored: 'won', shown: 'The dispute ended before it began.', next: null },
  won: { stored: 'won', shown: 'The payment stands; its credits are yours again.', next: null },
  lost: {
    stored: 'lost',
    shown: 'The card keeps the money; the credits are taken back, and what was spent of them is owed.',
    next: 'Load credits to settle what is owed.',
  },
};

/** An early fraud warning has no status; Stripe says whether anything can still be done. */
export const EARLY_FRAUD_WARNING: Record<
  'actionable' | 'not_actionable',
  StripeState<'actionable' | 'not_actionable'>
> = {
  actionable: {
    stored: 'actionable',
    shown: "The card's bank reports the payment as fraud. No credits are taken; often a dispute follows.",
    next: 'If the payment is yours, tell your bank. If it is not, ask the operator to refund it.',
  },
  not_actionable: {
    stored: 'not_actionable',
    shown: "The card's bank reported the payment as fraud; it was refunded or disputed since.",
    next: null,
  },
};

/** Of a transfer to a seller, which has no status at Stripe: what it comes to. Stored is the status of its payout. */
export const TRANSFER: Record<
  'unheard' | 'made' | 'partly_reversed' | 'reversed' | 'refused',
  StripeState<'requested' | 'paid' | 'failed'>
> = {
  unheard: {
    stored: 'requested',
    shown: 'On its way to Stripe, or Stripe did not say yet.',
    next: 'Wait; a job asks Stripe every minute.',
  },
  made: { stored: 'paid', shown: 'With your Stripe account, which pays your bank.', next: null },
  partly_reversed: {
    stored: 'paid',
    shown: 'Stripe took a part of it back, which is available again.',
    next: 'Ask the operator why.',
  },
  reversed: {
    stored: 'failed',
    shown: 'Stripe took it back; the credits are available again.',
    next: 'Ask the operator why, and then for a new payout.',
  },
  refused: {
    stored: 'failed',
    shown: 'Stripe refused it; the credits are available again.',
    next: 'See GET /v1/billing/payouts/account, and ask for a new payout when it is ready.',
  },
};

/**
 * What a seller's Stripe account pays to the bank. It is the seller's own and none of it is stored: a bank that
 * refuses is what the `account` asks to be mended, so that one is read again.
 */
export const BANK_PAYOUT: Record<
  'pending' | 'in_transit' | 'paid' | 'failed' | 'canceled',
  StripeState<'nothing' | 'account'>
> = {
  pending: { stored: 'nothing', shown: 'See your Stripe account.', next: null },
  in_transit: { stored: 'nothing', shown: 'See your Stripe account.', next: null },
  paid: { stored: 'nothing', shown: 'See your Stripe account.', next: null },
  failed: {
    stored: 'account',
    shown: 'The account asks for another bank account (`external_account`).',
    next: 'Name another one with the link of POST /v1/billing/payouts/account.',
  },
  canceled: { stored: 'nothing', shown: 'See your Stripe account.', next: null },
};

/** Where a seller's account stands. Credits stay available in every one; they leave only while it is `ready`. */
export type AccountStanding =
  'unconnected' | 'ready' | 'onboarding' | 'pending' | 'restricted' | 'rejected' | 'gone';

/** Our own words for what Stripe says in another way than by `requirements.disabled_reason`. */
export type OwnReason =
  | 'transfers.pending'
  | 'transfers.inactive'
  | 'payouts.disabled'
  | 'account.deauthorized'
  | 'account.deleted'
  | 'account.unknown';

const ANSWER = 'Give Stripe what it asks for, with the link of POST /v1/billing/payouts/account.';
const CONNECT_ANEW = 'Connect a new account with POST /v1/billing/payouts/account.';
const ASK_OPERATOR = 'Ask the operator of this gateway.';
const LOOK_AGAIN = 'Wait; GET /v1/billing/payouts/account asks Stripe again.';
const REJECTED = {
  stored: 'rejected',
  shown: 'Stripe has closed this account to payments.',
  next: 'Ask the support of Stripe, or the operator of this gateway.',
} as const;

/** A seller's Stripe account that is not paid, by the reason. */
export const PAYOUT_ACCOUNT: Record<
  Named<Stripe.Account.Requirements.DisabledReason> | OwnReason,
  StripeState<AccountStanding>
> = {
  'requirements.past_due': {
    stored: 'restricted',
    shown: 'Stripe pays this account once it knows more of its owner.',
    next: ANSWER,
  },
  'requirements.pending_verification': {
    stored: 'pending',
    shown: 'Stripe checks what its owner has answered.',
    next: LOOK_AGAIN,
  },
  'action_required.requested_capabilities': {
    stored: 'restricted',
    shown: 'Stripe wants its owner to accept that it is paid here.',
    next: ANSWER,
  },
  under_review: { stored: 'pending', shown: 'Stripe looks into this account.', next: LOOK_AGAIN },
  listed: {
    stored: 'pending',
    shown: 'Stripe compares this account with a list of persons it must not pay.',
    next: LOOK_AGAIN,
  },
  platform_paused: {
    stored: 'restricted',
    shown: 'The operator has paused this account at Stripe.',
    next: ASK_OPERATOR,
  },
  other: { stored: 'restricted', shown: 'Stripe does not pay this account.', next: ASK_OPERATOR },
  'rejected.fraud': REJECTED,
  'rejected.incomplete_verification': REJECTED,
  'rejected.listed': REJECTED,
  'rejected.other': REJECTED,
  'rejected.platform_fraud': REJECTED,
  'rejected.platform_other': REJECTED,
  'rejected.platform_terms_of_service': REJECTED,
  'rejected.terms_of_service': REJECTED,
  'transfers.pending': {
    stored: 'pending',
    shown: 'Stripe is about to let this account be paid.',
    next: LOOK_AGAIN,
  },
  'transfers.inactive': {
    stored: 'restricted',
    shown: 'Stripe does not let this account be paid.',
    next: ANSWER,
  },
  'payouts.disabled': {
    stored: 'restricted',
    shown: 'Stripe does not pay the bank of this account.',
    next: ANSWER,
  },
  'account.deauthorized': {
    stored: 'gone',
    shown: 'The owner of the Stripe account has disconnected it. Payouts are paused; the credits are kept.',
    next: CONNECT_ANEW,
  },
  'account.deleted': {
    stored: 'gone',
    shown: 'The Stripe account was deleted. Payouts are paused; the credits are kept.',
    next: CONNECT_ANEW,
  },
  'account.unknown': {
    stored: 'gone',
    shown:
      'Stripe does not know this account, or no longer lets us see it. Payouts are paused; the credits are kept.',
    next: CONNECT_ANEW,
  },
};

/**
 * The row of a word of Stripe's. One we have no row for is stored and shown as it is, and counts as `cautious`
 * says: nothing is granted on it, and nothing fails.
 */
export function stateOf<Stored extends string>(
  table: Readonly<Record<string, StripeState<Stored>>>,
  word: string,
  cautious: NoInfer<Stored>,
): StripeState<Stored> {
  if (Object.hasOwn(table, word)) return table[word] as StripeState<Stored>;
  return {
    stored: cautious,
    shown: `Stripe says "${word}", which this gateway does not know yet.`,
    next: ASK_OPERATOR,
  };
}

/** Where the word of a row comes in what can happen to an object, for words that are stored alike; new ones last. */
export function placeOf(table: Readonly<Record<string, unknown>>, word: string): number {
  const place = Object.keys(table).indexOf(word);
  return place === -1 ? Number.MAX_SAFE_INTEGER : place;
}
