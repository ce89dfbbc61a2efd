import type { Json, JsonObject } from '../base/json.ts';
import type { CallIdentity } from './signature.ts';

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
  /** Reads this resource of the server, and its tool is not called; only for `mcp`. The output is its `contents`. */
  resourceUri?: string;
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
  /**
   * The seller promised an output (`output_schema`): where an MCP tool gives no `structuredContent`, it is read out of
   * the tool's text. What was not promised is not made up.
   */
  isOutputPromised: boolean;
  /** Hears each chunk as it arrives, in order. Absent when nobody listens. */
  onChunk?: ChunkListener;
  /** Hears what a metered agent says it has used up to here, the chunks before it included. */
  onUsage?: (usage: Usage) => void;
};

/** `progress` is there for a chunk that an MCP tool sent as progress. */
export type ChunkListener = (chunk: string, progress?: ToolProgress) => void;

/** What an MCP tool said of how far it is; the chunk of one without a message is `5/10`. */
export type ToolProgress = { progress: number; total?: number; hasMessage: boolean };

/**
 * A content block of an MCP tool result (text, image, audio, resource, resource_link), passed on unchanged, but for
 * names of ours in its `_meta`.
 */
export type ContentBlock = JsonObject & { type: string };

/**
 * What a metered agent says it used, as a decimal string of at most six places. `unit` is what it says it
 * counted, if it says so.
 */
export type Usage = { quantity: string; unit?: string };

/** What else an MCP tool's result holds: its `_meta`, without our own names, and members the gateway does not know. */
export type ResultRest = { meta?: JsonObject; members?: JsonObject };

/** How the agent's side ended. Failures are answers too: nothing here throws for what an agent does. */
export type UpstreamOutcome =
  | ({
      kind: 'answer';
      output: Json;
      /** The output for a schema to be checked against, where it holds numbers that no double does. */
      outputAsDoubles?: Json;
      content?: ContentBlock[];
      /** `output` is nothing but the blocks: the tool gave no structured content, and none was promised. */
      isUnstructured?: boolean;
      usage?: Usage;
    } & ResultRest)
  /**
   * It said error: non-2xx, `isError`, a JSON-RPC error. `content` is what an MCP tool said about it.
   * `inputAtFault`: it says that the same input will fail again.
   */
  | ({ kind: 'agent_error'; detail: string; content?: ContentBlock[]; inputAtFault?: true } & ResultRest)
  /** Could not connect, or the connection was lost before the answer was whole. */
  | { kind: 'unreachable'; detail: string }
  | { kind: 'timeout' }
  /** Empty, too large, not JSON, not the promised frames. */
  | { kind: 'output_invalid'; detail: string }
  /** `signal` was aborted. */
  | { kind: 'cancelled' };

/** What an endpoint is like that was tried without calling the agent. `message` is public and in our words only. */
export type EndpointTrial = { kind: 'ok' } | { kind: 'doubtful'; part: 'url' | 'tool'; message: string };

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
  /** Looks whether an agent can be reached where its manifest says, without calling it. Never throws for what it finds. */
  tryEndpoint(endpoint: Endpoint, identity: CallIdentity): Promise<EndpointTrial>;
  /** Closes every session and every pooled connection; calls under way end as `unreachable`. */
  close(): Promise<void>;
};
