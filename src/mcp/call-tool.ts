import { traceOf } from '../base/log.ts';
import { Problem } from '../base/problem.ts';
import { problemOfThrown } from '../db/thrown-problem.ts';
import { callAgent } from './call-agent.ts';
import type { Connection } from './connection.ts';
import { isMetaTool } from './meta-tool-list.ts';
import { callMetaTool } from './meta-tools.ts';
import type { McpDeps, ToolCall } from './tool-call.ts';
import { formatProblem, type ToolResult } from './tool-result.ts';

const TOOL_PREFIX = 'sentinel_';

/** Runs a tool: one of ours, free, or an agent, paid. Every way it ends is a result; it never throws. */
export async function callTool(call: ToolCall, connection: Connection, deps: McpDeps): Promise<ToolResult> {
  try {
    if (isMetaTool(call.name)) return await callMetaTool(call.name, call, connection, deps);
    // A name that is no tool's goes the same way as a hidden agent's, so that it is answered and recorded alike.
    const agentId = call.name.startsWith(TOOL_PREFIX) ? call.name.slice(TOOL_PREFIX.length) : call.name;
    return await callAgent(
      {
        agentId,
        input: call.input,
        exactInput: call.exactInput,
        idempotencyKey: undefined,
        maxCredits: undefined,
      },
      call,
      connection,
      deps,
    );
  } catch (error) {
    if (error instanceof Problem) return formatProblem(error);
    deps.log('error', 'a tool call failed', {
      request: call.requestId,
      error: traceOf(error),
    });
    return formatProblem(problemOfThrown(error));
  }
}
