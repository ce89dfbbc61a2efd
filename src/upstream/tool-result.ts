import { isJsonObject } from '../base/json.ts';
import type { Json, JsonObject } from '../base/json.ts';
import { parseJsonText } from './answer-json.ts';
import { publicWords } from './public-words.ts';
import type { ContentBlock, UpstreamOutcome } from './upstream.ts';
import { USAGE_INVALID, parseUsage } from './usage.ts';

/**
 * The `result` of a `tools/call` → how the call ended. Content blocks stay as they are. The output is
 * `structuredContent`; without it the JSON object that the only text block is; without that the blocks themselves,
 * `{ "content": […] }`. A metered tool reports its usage in `_meta["xyz.sentinel/usage"].quantity`.
 */
export function outcomeOfToolResult(result: JsonObject): UpstreamOutcome {
  const resultType = result['resultType'];
  if (resultType === 'input_required') {
    return {
      kind: 'agent_error',
      detail: 'it asks for more input in the middle of a call, which is not offered here',
    };
  }
  if (resultType !== undefined && resultType !== 'complete')
    return invalid('the result is of an unknown type');

  const content = result['content'] ?? [];
  if (!isContent(content)) return invalid('the content is not a list of content blocks');
  if (result['isError'] === true) {
    const detail = errorWords(content);
    return {
      kind: 'agent_error',
      detail,
      ...(content.length > 0 ? { content } : {}),
      ...(INVALID_ARGUMENTS.test(detail) ? { inputAtFault: true } : {}),
    };
  }
  const structured = result['structuredContent'];
  if (content.length === 0 && structured === undefined) return invalid('the answer is empty');
  const output = structured ?? outputOfContent(content);

  const meta = result['_meta'];
  const reported = isJsonObject(meta) ? meta['xyz.sentinel/usage'] : undefined;
  if (reported === undefined) return { kind: 'answer', output, content };
  const usage = isJsonObject(reported) ? parseUsage(reported['quantity'], reported['unit']) : undefined;
  return usage ? { kind: 'answer', output, content, usage } : invalid(USAGE_INVALID);
}

function isContent(value: Json): value is ContentBlock[] {
  return (
    Array.isArray(value) && value.every((block) => isJsonObject(block) && typeof block['type'] === 'string')
  );
}

function outputOfContent(content: ContentBlock[]): Json {
  const text = content.length === 1 && content[0]?.type === 'text' ? content[0]['text'] : undefined;
  if (typeof text === 'string' && text.trimStart().startsWith('{')) {
    const parsed = parseJsonText(text);
    if (parsed.kind === 'ok') return parsed.value;
  }
  return { content };
}

/** How the official SDKs put their refusal of arguments into a tool result (2025-11-25, Tools, Error Handling). */
const INVALID_ARGUMENTS = /^MCP error -32602\b/;

function errorWords(content: ContentBlock[]): string {
  const said = content.find((block) => block.type === 'text')?.['text'];
  return (typeof said === 'string' && publicWords(said)) || 'it reported an error';
}

function invalid(detail: string): UpstreamOutcome {
  return { kind: 'output_invalid', detail };
}
