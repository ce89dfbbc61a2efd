import { isJsonObject, type Json } from '../base/json.ts';
import { formatCredits } from '../base/money.ts';
import type { SignedReceipt } from '../audit/receipts.ts';
import type { Problem } from '../base/problem.ts';
import type { CallAnswer, CallResult } from '../calls/call.ts';

/**
 * A `CallToolResult` as JSON text in two parts: its members without `_meta`, and the members of `_meta`. The
 * revision of the request decides what is added to each, and an answer of megabytes is serialised once.
 */
export type ToolResult = { members: string; meta: string[] };

/** How a paid call ended, as a tool result. Refusals are results too: the model is to read them. */
export function formatCallResult(result: CallResult): ToolResult {
  if (result.kind === 'problem') {
    const extra = {
      charged: formatCredits(result.chargedMicros ?? 0n),
      ...(result.receipt ? { call_id: result.receipt.callId } : {}),
    };
    return formatProblem(result.problem, extra, result.content, result.receipt);
  }
  const meta = [`"xyz.sentinel/receipt":${result.receipt.json}`];
  if (result.isReplay) meta.push('"xyz.sentinel/replay":true');
  return { members: formatAnswer(result.answer), meta };
}

/** The answer of a free tool. */
export function formatOutput(output: Json): ToolResult {
  return { members: formatAnswer({ output }), meta: [] };
}

export function formatProblem(
  problem: Problem,
  extra: { charged?: string; call_id?: string } = {},
  content: readonly Json[] = [],
  receipt?: SignedReceipt,
): ToolResult {
  const error = JSON.stringify({
    code: problem.code,
    message: problem.message,
    retryable: problem.retryable,
    charged: '0',
    ...extra,
    ...problem.extras,
  });
  const blocks = [textBlock(error), ...content.map((block) => JSON.stringify(block))];
  const meta = [`"xyz.sentinel/error":${error}`];
  if (receipt) meta.push(`"xyz.sentinel/receipt":${receipt.json}`);
  return { members: `"content":[${blocks.join(',')}],"isError":true`, meta };
}

/** The whole result, `resultType` and server information included where the revision wants them. */
export function formatToolResult(result: ToolResult, modernMeta: string | undefined): string {
  const meta = modernMeta === undefined ? result.meta : [...result.meta, modernMeta];
  const tail = modernMeta === undefined ? '' : ',"resultType":"complete"';
  return `{${result.members}${meta.length === 0 ? '' : `,"_meta":{${meta.join(',')}}`}${tail}}`;
}

function formatAnswer({ output, content }: CallAnswer): string {
  const outputText = JSON.stringify(output);
  const blocks = content === undefined ? `[${textBlock(outputText)}]` : JSON.stringify(content);
  const structured =
    isJsonObject(output) && !isOnlyContent(output, content) ? `,"structuredContent":${outputText}` : '';
  return `"content":${blocks}${structured}`;
}

/** An MCP tool that gave no structured content has its blocks as its output; to send them twice says nothing. */
function isOnlyContent(output: Json, content: CallAnswer['content']): boolean {
  return (
    content !== undefined &&
    isJsonObject(output) &&
    Array.isArray(output['content']) &&
    Object.keys(output).length === 1 &&
    output['content'].length === content.length
  );
}

function textBlock(text: string): string {
  return `{"type":"text","text":${JSON.stringify(text)}}`;
}
