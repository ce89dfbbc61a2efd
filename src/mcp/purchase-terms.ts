import type { Json } from '../base/json.ts';
import { parseCredits } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_WORDS, LABEL, type PaidCallRequest } from '../calls/call.ts';

/** What the buyer says about a purchase beside its arguments. */
export type PurchaseTerms = Pick<PaidCallRequest, 'idempotencyKey' | 'maxMicros' | 'session' | 'actingFor'>;

/** The headers of a request that say something about a purchase. */
export type TermHeaders = {
  idempotencyKey: string | undefined;
  session: string | undefined;
  caller: string | undefined;
  /** `Mcp-Session-Id`, or the id of a session of the old transport: a connection is a session that was not named. */
  connection: string | undefined;
};

export function readTermHeaders(header: (name: string) => string | undefined): TermHeaders {
  return {
    idempotencyKey: header('idempotency-key'),
    session: header('x-sentinel-session'),
    caller: header('x-sentinel-caller'),
    connection: header('mcp-session-id'),
  };
}

/** One of the places terms can be given, with the name it is told by. */
export type GivenTerm = { from: string; value: Json | undefined };

/**
 * Reads the terms wherever they were given: header, `_meta`, or the arguments of `sentinel_call`. Throws
 * INVALID_INPUT when one is malformed or two places contradict each other.
 */
export function readTerms(given: {
  idempotencyKeys: GivenTerm[];
  maxCredits: GivenTerm[];
  sessions: GivenTerm[];
  callers: GivenTerm[];
  /** The session where none was named. Not the buyer's to choose, so an unusable one is left out. */
  connection: string | undefined;
}): PurchaseTerms {
  const idempotencyKey = agreed(given.idempotencyKeys);
  const maxCredits = agreed(given.maxCredits);
  const session = agreed(given.sessions);
  const caller = agreed(given.callers);
  const connection = LABEL.test(given.connection ?? '') ? given.connection : undefined;
  return {
    ...(idempotencyKey === undefined ? {} : { idempotencyKey: checkIdempotencyKey(idempotencyKey) }),
    ...(maxCredits === undefined ? {} : { maxMicros: checkMaxCredits(maxCredits) }),
    ...(session === undefined
      ? connection === undefined
        ? {}
        : { session: connection }
      : { session: checkLabel(session) }),
    ...(caller === undefined ? {} : { actingFor: checkLabel(caller) }),
  };
}

type Found = { from: string; value: Json };

function agreed(given: GivenTerm[]): Found | undefined {
  let found: Found | undefined;
  for (const { from, value } of given) {
    if (value === undefined) continue;
    if (found !== undefined && found.value !== value)
      throw refused(from, `says something else than ${found.from}; give it once`);
    found = { from, value };
  }
  return found;
}

function checkIdempotencyKey({ from, value }: Found): string {
  if (typeof value === 'string' && IDEMPOTENCY_KEY.test(value)) return value;
  throw refused(from, IDEMPOTENCY_KEY_WORDS);
}

function checkMaxCredits({ from, value }: Found): bigint {
  const micros = typeof value === 'string' ? parseCredits(value) : undefined;
  if (micros !== undefined) return micros;
  throw refused(from, 'must be an amount of credits as a decimal string such as "12.5"');
}

function checkLabel({ from, value }: Found): string {
  if (typeof value === 'string' && LABEL.test(value)) return value;
  throw refused(from, 'must be 1 to 128 printable ASCII characters');
}

function refused(from: string, message: string): Problem {
  return new Problem('INVALID_INPUT', `${from} ${message}.`, {
    faults: [{ path: '', message: `${from} ${message}` }],
  });
}
