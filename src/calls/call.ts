import type { SignedReceipt } from '../audit/receipts.ts';
import type { Json, JsonObject } from '../base/json.ts';
import type { Problem } from '../base/problem.ts';
import type { Agent, AgentFilters, Price } from '../catalog/agent.ts';
import type { Caller } from '../identity/caller.ts';
import type { ChunkListener, ContentBlock, ResultRest } from '../upstream/upstream.ts';

/** One request for a paid call, whichever wire it came over. */
export type PaidCallRequest = {
  agentId: string;
  /** Already parsed; anything but an object is INVALID_INPUT. */
  input: unknown;
  /** The arguments with their numbers as they were written, where they hold some that no double does. */
  exactInput?: JsonObject | undefined;
  filters: AgentFilters;
  wire: 'mcp' | 'rest';
  requestId: string;
  /** Aborted when the client cancelled or hung up. */
  signal: AbortSignal;
  /** Hears each chunk as it arrives. Absent when the client does not want them. */
  onChunk?: ChunkListener;
  /** 16–128 characters; kept 24 h. */
  idempotencyKey?: string;
  /** The most the buyer will pay for this call. */
  maxMicros?: bigint;
  /** The run or MCP connection it belongs to, and on whose behalf the key calls, as the client names them. */
  session?: string;
  actingFor?: string;
};

/** One attempt at a paid call: what was asked, and by whom. */
export type Attempt = {
  readonly callId: string;
  readonly request: PaidCallRequest;
  readonly caller: Caller;
  /** The agent asked for; absent where the filters hide it, or there is none. */
  readonly agent: Agent | undefined;
  readonly startedAt: Date;
  readonly startedElapsed: number;
};

/** An attempt the caller may make, at an agent it may see, with valid arguments. */
export type Call = Attempt & {
  readonly agent: Agent;
  readonly input: JsonObject;
  /** SHA-256 of the arguments' canonical JSON. */
  readonly inputHash: string;
  /** The same for the same agent, version and arguments; only where an answer may be handed over. */
  readonly requestHash: string | undefined;
  /** The same for the same agent and arguments, whatever the version; only with an idempotency key. */
  readonly keyedHash: string | undefined;
};

/** A call whose price is settled on: whatever is published while it runs, this is what it costs. */
export type PricedCall = Call & {
  readonly price: Price;
  /** One of the buyer's free calls of this month: held and settled at nothing. */
  readonly isFree: boolean;
};

/** A call that has credits on hold. */
export type HeldCall = PricedCall & {
  readonly heldMicros: bigint;
  /** How long the ledger took to set them aside. */
  readonly holdMs: number;
};

/**
 * What the agent answered, in its own words. `content` is what an MCP tool said, block by block; with `isUnstructured`
 * it said nothing else, and `output` only holds the blocks.
 */
export type CallAnswer = { output: Json; content?: ContentBlock[]; isUnstructured?: boolean } & ResultRest;

/** What is shown of an answer where it is not an MCP result: over REST, and looked up by its call. */
export function formatAnswer({ output, content, meta }: CallAnswer): {
  output: Json;
  content?: ContentBlock[];
  _meta?: JsonObject;
} {
  return { output, ...(content ? { content } : {}), ...(meta ? { _meta: meta } : {}) };
}

/** What makes two requests one purchase, wherever it is given. */
export const IDEMPOTENCY_KEY = /^[\x21-\x7e]{16,128}$/;
export const IDEMPOTENCY_KEY_WORDS = 'must be 16 to 128 printable characters without blanks';

/** What a session and whoever a key calls for may be named. */
export const LABEL = /^[\x20-\x7e]{1,128}$/;

/** How a paid call ended. */
export type CallResult =
  /** `isReplay`: this very result was made, and charged, by an earlier request. */
  | { kind: 'answer'; answer: CallAnswer; receipt: SignedReceipt; isReplay: boolean }
  /**
   * `receipt` is present when credits had been held: it proves that they were given back. All of them, but for a
   * metered stream its buyer left: then `chargedMicros` says what was delivered of it.
   */
  | ({
      kind: 'problem';
      problem: Problem;
      content?: ContentBlock[];
      receipt?: SignedReceipt;
      chargedMicros?: bigint;
    } & ResultRest);
