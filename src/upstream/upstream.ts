import type { Json, JsonObject } from '../base/json.ts';

/** Where an agent listens, as its manifest says. */
export type Endpoint = {
  protocol: 'http' | 'mcp';
  url: string;
  /** The tool's name on that server; only for `mcp`. */
  tool?: string;
  /** The seller says that the server keeps nothing of its callers, so all may share one session; only for `mcp`. */
  session?: 'shared';
};

export type UpstreamRequest = {
  endpoint: Endpoint;
  input: JsonObject;
  callId: string;
  requestId: string;
  /** Whose call it is: what a server remembers of one organization is never shown to another. */
  organizationId: string;
  /** Milliseconds from `send()` until the call is a TIMEOUT: connect, send, wait and read together. */
  timeoutMs: number;
  /** The most bytes of answer body that are read; one more makes the answer `output_invalid`. */
  maxBytes: number;
  /** Aborted when nobody wants the answer any more: the upstream request is aborted with it. */
  signal: AbortSignal;
  /** Hears each chunk as it arrives, in order. Absent when nobody listens. */
  onChunk?: (chunk: string) => void;
};

/** A content block of an MCP tool result (text, image, audio, resource, resource_link), passed on unchanged. */
export type ContentBlock = JsonObject & { type: string };

/**
 * What a metered agent says it used, as a decimal string of at most six places. `unit` is what it says it
 * counted, if it says so.
 */
export type Usage = { quantity: string; unit?: string };

/** How the agent's side ended. Failures are answers too: nothing here throws for what an agent does. */
export type UpstreamOutcome =
  | { kind: 'answer'; output: Json; content?: ContentBlock[]; usage?: Usage }
  /** It said error: non-2xx, `isError`, a JSON-RPC error. `content` is what an MCP tool said about it. */
  | { kind: 'agent_error'; detail: string; content?: ContentBlock[] }
  /** Could not connect, or the connection was lost before the answer was whole. */
  | { kind: 'unreachable'; detail: string }
  | { kind: 'timeout' }
  /** Empty, too large, not JSON, not the promised frames. */
  | { kind: 'output_invalid'; detail: string }
  /** `signal` was aborted. */
  | { kind: 'cancelled' };

/** A call of which the agent has heard nothing yet. */
export type PreparedCall = {
  /** Sends it; to be asked once. Rejects for our own bugs only. */
  send(): Promise<UpstreamOutcome>;
};

/** Speaks to agents. */
export type Upstream = {
  /**
   * Writes the call and has it signed, as far as that can be done before the agent may hear of it; `send()` does
   * the rest. Throws for arguments that cannot be written as JSON.
   */
  prepare(request: UpstreamRequest): PreparedCall;
  /** Closes every session and every pooled connection; calls under way end as `unreachable`. */
  close(): Promise<void>;
};
