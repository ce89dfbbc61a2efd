import type { EventSourceMessage } from 'eventsource-parser';
import { isJsonObject } from '../base/json.ts';
import type { Json } from '../base/json.ts';
import { HALF_CHARACTER, parseAnswerJson, parseJsonText } from './answer-json.ts';
import { readAnswer } from './answer.ts';
import type { Attempt } from './attempt.ts';
import type { AnswerHeaders } from './exchange.ts';
import type { Target } from './pools.ts';
import { outcomeOfRefusal, publicWords } from './public-words.ts';
import type { SignedPost } from './signed-post.ts';
import type { UpstreamOutcome } from './upstream.ts';
import { USAGE_INVALID, parseUsage } from './usage.ts';

/**
 * Protocol `http`: POSTs the arguments as JSON. The agent answers 200 or 201 (what some frameworks make of every
 * POST) with JSON, and reports usage in the header `X-Sentinel-Usage: 12.5`; or with SSE frames:
 *
 *     event: chunk    data: "text"                      → onChunk(text); other JSON and plain text as they stand
 *     event: usage    data: {"quantity":3}              → onUsage: what was used up to here, in all
 *     event: done     data: {"output":…,"usage":{"quantity":12.5}}
 *     event: error    data: {"message":"…"}
 *
 * Other events and comments are heartbeats.
 */
export function askHttpAgent(attempt: Attempt, target: Target, post: SignedPost): void {
  const { request } = attempt;
  const exchange = readAnswer(target, post, request.maxBytes, {
    whole: (bytes, status, answerHeaders) => attempt.end(outcomeOfBody(bytes, status, answerHeaders)),
    frame(event) {
      if (attempt.isOver()) return;
      if (event.event === 'chunk') request.onChunk?.(chunkText(event.data));
      else if (event.event === 'usage') hearUsage(event, attempt);
      else if (event.event === 'done') attempt.end(outcomeOfDone(event));
      else if (event.event === 'error') attempt.end(outcomeOfErrorFrame(event));
    },
    framesEnded: () => attempt.end({ kind: 'unreachable', detail: 'the stream ended before its done frame' }),
    refused: (bytes, status) => attempt.end(outcomeOfRefusal(bytes, status)),
    failed: (outcome, code) => attempt.fail(outcome, code),
    crashed: (error) => attempt.crash(error),
  });
  attempt.runs(exchange);
}

function outcomeOfBody(body: Buffer, status: number, headers: AnswerHeaders): UpstreamOutcome {
  if (status !== 200 && status !== 201) return invalid(`it answered ${status} instead of 200`);
  const parsed = parseAnswerJson(body);
  if (parsed.kind === 'bad') return invalid(parsed.detail);
  if (!parsed.isWellFormed) return invalid(HALF_CHARACTER);
  const answer = answerOf(parsed.value, parsed.exact);
  const reported = headers['x-sentinel-usage'];
  if (reported === undefined) return answer;
  const usage = parseUsage(reported);
  return usage ? { ...answer, usage } : invalid(USAGE_INVALID);
}

function answerOf(value: Json, exact: Json): Extract<UpstreamOutcome, { kind: 'answer' }> {
  return value === exact
    ? { kind: 'answer', output: exact }
    : { kind: 'answer', output: exact, outputAsDoubles: value };
}

function chunkText(data: string): string {
  // Only a JSON string means other text than it is.
  if (!data.startsWith('"')) return data;
  const parsed = parseJsonText(data);
  return parsed.kind === 'ok' && typeof parsed.value === 'string' ? parsed.value : data;
}

function hearUsage(event: EventSourceMessage, attempt: Attempt): void {
  const parsed = parseJsonText(event.data);
  const frame = parsed.kind === 'ok' ? parsed.value : undefined;
  const usage = isJsonObject(frame) ? parseUsage(frame['quantity'], frame['unit']) : undefined;
  if (usage) attempt.request.onUsage?.(usage);
  else attempt.end(invalid(USAGE_INVALID));
}

function outcomeOfDone(event: EventSourceMessage): UpstreamOutcome {
  const parsed = parseJsonText(event.data);
  if (parsed.kind === 'bad') return invalid('the done frame is not JSON');
  const frame = parsed.value;
  if (!isJsonObject(frame) || frame['output'] === undefined) return invalid('the done frame has no output');
  if (!parsed.isWellFormed) return invalid(HALF_CHARACTER);
  const answer = answerOf(frame['output'], (parsed.exact as typeof frame)['output']!);
  if (frame['usage'] === undefined || frame['usage'] === null) return answer;
  const usage = isJsonObject(frame['usage'])
    ? parseUsage(frame['usage']['quantity'], frame['usage']['unit'])
    : undefined;
  return usage ? { ...answer, usage } : invalid(USAGE_INVALID);
}

function outcomeOfErrorFrame(event: EventSourceMessage): UpstreamOutcome {
  const parsed = parseJsonText(event.data);
  const words = publicWords(parsed.kind === 'ok' ? parsed.value : event.data);
  return { kind: 'agent_error', detail: words || 'it reported an error' };
}

function invalid(detail: string): UpstreamOutcome {
  return { kind: 'output_invalid', detail };
}
