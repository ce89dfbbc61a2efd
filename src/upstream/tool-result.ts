import { isJsonObject } from '../base/json.ts';
import type { Json, JsonObject } from '../base/json.ts';
import { HALF_CHARACTER, parseJsonText } from './answer-json.ts';
import type { AnswerJson } from './answer-json.ts';
import { faultOfContents, readContent } from './content-blocks.ts';
import { publicWords } from './public-words.ts';
import type { ContentBlock, UpstreamOutcome } from './upstream.ts';
import { USAGE_INVALID, parseUsage } from './usage.ts';

type Answer = Extract<UpstreamOutcome, { kind: 'answer' }>;

/**
 * The `result` of a `tools/call` → how the call ended. All of it is passed on: blocks, `structuredContent`, `_meta` and
 * what else is in it, but for what is between this server and us. The output is `structuredContent`. Without it, and
 * only where the seller promised one (`isOutputPromised`), it is the JSON object that the only text block is; else
 * the blocks themselves, `{ "content": […] }`. A metered tool reports its usage in
 * `_meta["xyz.sentinel/usage"].quantity`.
 */
export function outcomeOfToolResult(
  result: JsonObject,
  exact: JsonObject,
  { isWellFormed, isOutputPromised }: { isWellFormed: boolean; isOutputPromised: boolean },
): UpstreamOutcome {
  const resultType = result['resultType'];
  if (resultType === 'input_required') {
    return {
      kind: 'agent_error',
      detail: 'it asks for more input in the middle of a call, which is not offered here',
    };
  }
  if (resultType !== undefined && resultType !== 'complete')
    return invalid('the result is of an unknown type');

  const read = readContent(contentOf(result));
  if (read.kind === 'bad') return invalid(read.detail);
  const { content } = read;
  const exactContent = blocksToPassOn(contentOf(exact) as ContentBlock[]);
  const meta = result['_meta'];
  if (meta !== undefined && !isJsonObject(meta)) return invalid('its _meta is no JSON object');
  const isError = result['isError'];
  if (isError !== undefined && typeof isError !== 'boolean') return invalid('its isError is no boolean');
  const members = membersToPassOn(exact);
  if (isError === true) {
    const detail = errorWords(content);
    return {
      kind: 'agent_error',
      detail,
      ...(content.length > 0 ? { content: exactContent } : {}),
      ...(INVALID_ARGUMENTS.test(detail) ? { inputAtFault: true } : {}),
      ...members,
    };
  }
  if (content.length === 0 && result['structuredContent'] === undefined)
    return invalid('the answer is empty');
  if (!isWellFormed) return invalid(HALF_CHARACTER);
  const answer = answerOf(result, exact, isOutputPromised, exactContent);
  if (answer === undefined) return invalid(HALF_CHARACTER);

  const reported = meta?.['xyz.sentinel/usage'];
  if (reported === undefined) return { ...answer, ...members };
  const usage = isJsonObject(reported) ? parseUsage(reported['quantity'], reported['unit']) : undefined;
  return usage ? { ...answer, ...members, usage } : invalid(USAGE_INVALID);
}

/** The `result` of a `resources/read` → its contents as the output. */
export function outcomeOfResource(result: JsonObject, exact: JsonObject): UpstreamOutcome {
  const fault = faultOfContents(result['contents']);
  if (fault !== undefined) return invalid(fault);
  const contents = (exact['contents'] as JsonObject[]).map(withoutOwnNames);
  return { kind: 'answer', output: { contents } };
}

/** Undefined for an output that holds half a character. */
function answerOf(
  result: JsonObject,
  exact: JsonObject,
  isOutputPromised: boolean,
  content: ContentBlock[],
): Answer | undefined {
  const structured = result['structuredContent'];
  if (structured !== undefined) {
    return { kind: 'answer', content, ...outputOf(structured, exact['structuredContent']!) };
  }
  const parsed = isOutputPromised ? objectInText(content) : undefined;
  if (parsed?.isWellFormed === false) return undefined;
  if (parsed) return { kind: 'answer', content, ...outputOf(parsed.value, parsed.exact) };
  const output = { content };
  const asDoubles = result === exact ? output : { content: contentOf(result) };
  return {
    kind: 'answer',
    content,
    ...outputOf(asDoubles, output),
    ...(isOutputPromised ? {} : { isUnstructured: true }),
  };
}

/** Where both are the very same, there is nothing to say of doubles. */
function outputOf(value: Json, exact: Json): Pick<Answer, 'output' | 'outputAsDoubles'> {
  return value === exact ? { output: exact } : { output: exact, outputAsDoubles: value };
}

function contentOf(result: JsonObject): Json {
  return result['content'] === undefined ? [] : result['content'];
}

function objectInText(content: ContentBlock[]): AnswerJson | undefined {
  const text = content.length === 1 && content[0]?.type === 'text' ? content[0]['text'] : undefined;
  if (typeof text !== 'string' || !text.trimStart().startsWith('{')) return undefined;
  const parsed = parseJsonText(text);
  return parsed.kind === 'ok' ? parsed : undefined;
}

// Said to us, and not to whoever called us: the protocol's own words about this exchange.
const OWN_MEMBERS = new Set([
  'content',
  'structuredContent',
  'isError',
  '_meta',
  'resultType',
  'task',
  'inputRequests',
  'requestState',
  'ttlMs',
  'cacheScope',
  'nextCursor',
]);
/** Our own names are ours to write, and which server answered here says nothing of the one that was asked. */
const OWN_PREFIX = 'xyz.sentinel/';
const SERVER_INFO = 'io.modelcontextprotocol/serverInfo';

function membersToPassOn(result: JsonObject): Pick<Answer, 'meta' | 'members'> {
  const others = Object.entries(result).filter(([name]) => !OWN_MEMBERS.has(name));
  const meta = result['_meta'] === undefined ? undefined : metaToPassOn(result['_meta']);
  return {
    ...(meta === undefined ? {} : { meta }),
    ...(others.length === 0 ? {} : { members: Object.fromEntries(others) }),
  };
}

/** The blocks themselves, unless one says something in our name. */
function blocksToPassOn(content: ContentBlock[]): ContentBlock[] {
  const speaksForUs = (value: Json | undefined) => isJsonObject(value) && hasOwnNames(value['_meta']);
  if (!content.some((block) => speaksForUs(block) || speaksForUs(block['resource']))) return content;
  return content.map((block) => {
    const { resource } = block;
    return withoutOwnNames(
      isJsonObject(resource) ? { ...block, resource: withoutOwnNames(resource) } : block,
    ) as ContentBlock;
  });
}

function withoutOwnNames(value: JsonObject): JsonObject {
  if (!hasOwnNames(value['_meta'])) return value;
  const { _meta, ...others } = value;
  const meta = metaToPassOn(_meta!);
  return meta === undefined ? others : { ...others, _meta: meta };
}

function hasOwnNames(meta: Json | undefined): boolean {
  return isJsonObject(meta) && Object.keys(meta).some(isOwnName);
}

/** Undefined when nothing of it is left. */
function metaToPassOn(meta: Json): JsonObject | undefined {
  const entries = Object.entries(meta as JsonObject).filter(([name]) => !isOwnName(name));
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

function isOwnName(name: string): boolean {
  return name.startsWith(OWN_PREFIX) || name === SERVER_INFO;
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
