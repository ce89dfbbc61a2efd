import type { Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { ValidateFunction } from 'ajv/dist/2020.js';
import { isJsonObject, type Json, type JsonObject } from '../base/json.ts';
import type { Log } from '../base/log.ts';
import { Refusal } from './refusal.ts';

/** What an agent does with a valid input. Whatever else it throws but a {@link Refusal} is a bug of ours. */
export type AgentWork = (input: JsonObject, wire: AgentWire) => Promise<JsonObject>;

export type AgentWire = {
  /** Aborted when the caller has gone. */
  signal: AbortSignal;
  /** Sends a piece of the answer ahead, to callers who asked for a stream. */
  onChunk: (chunk: string) => Promise<void>;
};

/**
 * `POST` of the arguments as JSON → 200 with the output as JSON; or, when `Accept` names `text/event-stream`,
 * one `event: chunk` per piece (its data is the text itself) and `event: done` with `{output}`. A refusal is a
 * non-2xx status with `{error: {message}}`, also for streams: the status is only sent with the first chunk.
 */
export function agentRoute(options: {
  work: AgentWork;
  checkInput: ValidateFunction;
  closing: AbortSignal;
  log: Log;
}) {
  const { work, checkInput, closing, log } = options;
  return async (context: Context): Promise<Response> => {
    const input = await readInput(context, checkInput);
    const signal = AbortSignal.any([context.req.raw.signal, closing]);
    const wantsStream = context.req.header('accept')?.toLowerCase().includes('text/event-stream') ?? false;
    if (!wantsStream) return context.json(await work(input, { signal, onChunk: async () => {} }));

    const started = Promise.withResolvers<void>();
    const mayWrite = Promise.withResolvers<Write>();
    const output = work(input, {
      signal,
      onChunk: async (chunk) => {
        started.resolve();
        const write = await mayWrite.promise;
        await write('chunk', chunk);
      },
    });
    // A refusal before the first chunk still decides the status; after it, only the stream's end can tell.
    await Promise.race([started.promise, output]);
    return streamSSE(
      context,
      async (stream) => {
        const write: Write = (event, data) => stream.writeSSE({ event, data });
        mayWrite.resolve(write);
        await write('done', JSON.stringify({ output: await output }));
      },
      async (error, stream) => {
        log('error', 'a demo agent failed while streaming', { error });
        await stream.writeSSE({ event: 'error', data: JSON.stringify({ error: { message: FAILED } }) });
      },
    );
  };
}

type Write = (event: 'chunk' | 'done', data: string) => Promise<void>;

const FAILED = 'The agent failed on this input.';

/** The answer to anything that was thrown. Internal causes go to the log only. */
export function answerError(error: unknown, context: Context, log: Log): Response {
  if (error instanceof Refusal) {
    // The cause itself may quote the buyer's document.
    const { cause } = error;
    const reason = cause instanceof Error ? ('code' in cause ? cause.code : cause.name) : undefined;
    log('info', 'a demo agent refused its input', { status: error.status, reason });
    return context.json({ error: { message: error.message } }, error.status);
  }
  log('error', 'a demo agent failed', { error });
  return context.json({ error: { message: FAILED } }, 500);
}

// The gateway has checked the input already; a seller still cannot know who calls.
async function readInput(context: Context, checkInput: ValidateFunction): Promise<JsonObject> {
  let input: Json;
  try {
    input = await context.req.json<Json>();
  } catch (cause) {
    throw new Refusal(400, 'The body is not valid JSON.', { cause });
  }
  if (!isJsonObject(input)) throw new Refusal(400, 'The body must be a JSON object.');
  if (!checkInput(input)) {
    const faults = (checkInput.errors ?? []).map(({ instancePath, message, params }) => {
      const member: unknown = params['additionalProperty'];
      return `${instancePath || 'the input'} ${message}${typeof member === 'string' ? ` (${member})` : ''}`;
    });
    throw new Refusal(400, `The input is not valid: ${faults.join('; ')}.`);
  }
  return input;
}
