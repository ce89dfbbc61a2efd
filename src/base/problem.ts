/**
 * Every refusal a client can see: the HTTP status it answers with on REST, its fixed public title, and
 * whether trying the same thing again can help. On MCP the same codes travel inside a tool result.
 */
const PROBLEMS = {
  // The paid call (section 2 of the contract).
  NOT_FOUND: { status: 404, title: 'No such thing here', retryable: false },
  INVALID_INPUT: { status: 400, title: 'The input does not match what is expected', retryable: false },
  PAYMENT_REQUIRED: { status: 402, title: 'Not enough credits', retryable: false },
  TIMEOUT: { status: 504, title: 'The agent did not answer in time', retryable: true },
  OUTPUT_INVALID: { status: 502, title: 'The agent broke its promise', retryable: true },
  AGENT_ERROR: { status: 502, title: 'The agent reported an error', retryable: true },
  AGENT_UNREACHABLE: { status: 502, title: 'The agent could not be reached', retryable: true },
  CANCELLED: { status: 499, title: 'The call was cancelled', retryable: true },
  RATE_LIMITED: { status: 429, title: 'Too many calls', retryable: true },
  BUDGET_EXCEEDED: { status: 403, title: 'This would pass a spending limit', retryable: false },
  APPROVAL_REQUIRED: { status: 403, title: 'A person has to approve this call', retryable: true },
  POLICY_DENIED: { status: 403, title: 'A policy forbids this call', retryable: false },
  PRICE_CHANGED: { status: 409, title: 'The price has changed', retryable: false },
  DEFINITION_CHANGED: { status: 409, title: 'The agent has changed', retryable: false },
  IDEMPOTENCY_CONFLICT: {
    status: 409,
    title: 'This idempotency key was used for another request',
    retryable: false,
  },
  INTERNAL: { status: 500, title: 'Something went wrong on our side', retryable: true },
  // Who is asking.
  UNAUTHENTICATED: { status: 401, title: 'A valid API key is needed', retryable: false },
  FORBIDDEN: { status: 403, title: 'This key may not do that', retryable: false },
  // The request itself.
  NOT_ACCEPTABLE: { status: 406, title: 'No acceptable answer format', retryable: false },
  METHOD_NOT_ALLOWED: { status: 405, title: 'That method is not offered here', retryable: false },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'The body has the wrong type', retryable: false },
  PAYLOAD_TOO_LARGE: { status: 413, title: 'The body is too large', retryable: false },
  HOST_NOT_ALLOWED: { status: 403, title: 'This host or origin is not allowed', retryable: false },
  CONFLICT: { status: 409, title: 'That contradicts what is already there', retryable: false },
  STRIPE_NOT_CONFIGURED: { status: 503, title: 'Payments are not set up here', retryable: false },
  STRIPE_FAILED: { status: 502, title: 'Stripe did not do what was asked', retryable: true },
  UNAVAILABLE: { status: 503, title: 'Not available right now', retryable: true },
} as const satisfies Record<string, { status: number; title: string; retryable: boolean }>;

export type ProblemCode = keyof typeof PROBLEMS;

/** One failing place of the input: a JSON Pointer (RFC 6901; `""` is the whole) and what is wrong there. */
export type Fault = { path: string; message: string };

/** What may accompany a refusal, all of it public. Amounts are decimal credit strings. */
export type ProblemExtras = {
  faults?: Fault[];
  balance?: string;
  needed?: string;
  top_up?: string;
  hint?: string;
  call_id?: string;
  retry_after_seconds?: number;
  limit?: string;
  /** The most bytes that are taken. */
  limit_bytes?: number;
  /** Today's price, where that is what changed. */
  price?: Readonly<Record<string, string | number>>;
};

/** A refusal the client may read. `message` is public; `cause` is for the log only. */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly code: ProblemCode;
  readonly extras: ProblemExtras;
  readonly retryable: boolean;

  /** `retryable` where this one is known to be other than its kind. */
  constructor(
    code: ProblemCode,
    detail: string,
    extras: ProblemExtras = {},
    options: ErrorOptions & { retryable?: boolean } = {},
  ) {
    super(detail, options);
    this.code = code;
    this.extras = extras;
    this.retryable = options.retryable ?? PROBLEMS[code].retryable;
  }

  get status(): number {
    return PROBLEMS[this.code].status;
  }

  get title(): string {
    return PROBLEMS[this.code].title;
  }
}

/** What a client is told when the fault is ours: never the internal message. */
export function internalProblem(cause: unknown): Problem {
  return new Problem(
    'INTERNAL',
    'The gateway failed; nothing was charged. Try again, or report the request id.',
    {},
    { cause },
  );
}
