import { isJsonObject, type Json, type JsonObject } from '../base/json.ts';
import { formatCredits } from '../base/money.ts';
import type { SignedReceipt } from '../audit/receipts.ts';
import type { Problem } from '../base/problem.ts';
import type { CallAnswer, CallResult } from '../calls/call.ts';
import type { ContentBlock, ResultRest } from '../upstream/upstream.ts';
import { blocksFor } from './known-blocks.ts';
import type { Revision } from './revision.ts';
import { isModern } from './revision.ts';

/**
 * A `CallToolResult` as JSON text in two parts: its members without `_meta`, and the members of `_meta`, so that an
 * answer of megabytes is serialised once.
 */
export type ToolResult = { members: string; meta: string[] };

/** How a paid call ended, as a tool result of the client's revision. Refusals are results too: the model is to read them. */
export function formatCallResult(result: CallResult, revision: Revision): ToolResult {
  if (result.kind === 'problem') {
    const { problem, receipt, content = [], meta, members } = result;
    const extra = {
      charged: formatCredits(result.chargedMicros ?? 0n),
      ...(receipt ? { call_id: receipt.callId } : {}),
    };
    const told = formatProblem(problem, extra, blocksFor(revision, content), receipt);
    return { members: told.members + memberTexts(members), meta: [...metaTexts(meta), ...told.meta] };
  }
  const meta = [...metaTexts(result.answer.meta), `"xyz.sentinel/receipt":${result.receipt.json}`];
  if (result.isReplay) meta.push('"xyz.sentinel/replay":true');
  return { members: formatAnswer(result.answer, revision), meta };
}

/** The answer of a free tool. */
export function formatOutput(output: JsonObject): ToolResult {
  const text = JSON.stringify(output);
  return { members: `"content":[${textBlock(text)}],"structuredContent":${text}`, meta: [] };
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

function formatAnswer(answer: CallAnswer, revision: Revision): string {
  const { output, content, members } = answer;
  // Of an HTTP agent, or of a tool that gave nothing for those to read who know blocks only.
  const isWithoutBlocks = content === undefined || content.length === 0;
  const outputText = isWithoutBlocks || !answer.isUnstructured ? JSON.stringify(output) : '';
  const blocks = isWithoutBlocks ? `[${textBlock(outputText)}]` : formatBlocks(revision, content);
  const structured = structuredText(answer, outputText, revision);
  return `"content":${blocks}${structured}${memberTexts(members)}`;
}

function formatBlocks(revision: Revision, content: ContentBlock[]): string {
  return JSON.stringify(blocksFor(revision, content));
}

/**
 * What a tool gave, or an output that was promised. Before 2026-07-28 structured content is an object, and the official
 * servers wrap anything else the same way for those clients; of an HTTP agent only an object is structured content.
 */
function structuredText(
  { output, content, isUnstructured }: CallAnswer,
  text: string,
  revision: Revision,
): string {
  if (isUnstructured) return '';
  if (isJsonObject(output)) return `,"structuredContent":${text}`;
  if (content === undefined) return '';
  return isModern(revision) ? `,"structuredContent":${text}` : `,"structuredContent":{"result":${text}}`;
}

function memberTexts(members: ResultRest['members']): string {
  if (members === undefined) return '';
  return Object.entries(members)
    .map(([name, value]) => `,${JSON.stringify(name)}:${JSON.stringify(value)}`)
    .join('');
}

function metaTexts(meta: ResultRest['meta']): string[] {
  if (meta === undefined) return [];
  return Object.entries(meta).map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
}

function textBlock(text: string): string {
  return `{"type":"text","text":${JSON.stringify(text)}}`;
}
