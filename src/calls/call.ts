import type { SignedReceipt } from '../audit/receipts.ts';
import type { Json } from '../base/json.ts';
import type { Problem } from '../base/problem.ts';
import type { AgentFilters } from '../catalog/agent.ts';
import type { ContentBlock } from '../upstream/upstream.ts';

/** One request for a paid call, whichever wire it came over. */
export type PaidCallRequest = {
  agentId: string;
  /** Already parsed; anything but an object is INVALID_INPUT. */
  input: unknown;
  filters: AgentFilters;
  wire: 'mcp' | 'rest';
  requestId: string;
  /** Aborted when the client cancelled or hung up. */
  signal: AbortSignal;
  /** Hears each chunk as it arrives. Absent when the client does not want them. */
  onChunk?: (chunk: string) => void;
  /** 16–128 characters; kept 24 h. */
  idempotencyKey?: string;
  /** The most the buyer will pay for this call. */
  maxMicros?: bigint;
  /** The run or MCP connection it belongs to, and on whose behalf the key calls, as the client names them. */
  session?: string;
  actingFor?: string;
};

/** What the agent answered, in its own words. `content` is what an MCP tool said, block by block. */
export type CallAnswer = { output: Json; content?: ContentBlock[] };

/** What makes two requests one purchase, wherever it is given. */
export const IDEMPOTENCY_KEY = /^[\x21-\x7e]{16,128}$/;
export const IDEMPOTENCY_KEY_WORDS = 'must be 16 to 128 printable characters without blanks';

/** What a session and whoever a key calls for may be named. */
export const LABEL = /^[\x20-\x7e]{1,128}$/;

/** How a paid call ended. */
export type CallResult =
  /** `isReplay`: this very result was made, and charged, by an earlier request. */
  | { kind: 'answer'; answer: CallAnswer; receipt: SignedReceipt; isReplay: boolean }
  /** `receipt` is present when credits had been held: it proves that they were given back. */
  | { kind: 'problem'; problem: Problem; content?: ContentBlock[]; receipt?: SignedReceipt };
