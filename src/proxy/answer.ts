import type { JsonObject } from '../base/json.ts';
import type { Reply } from './gateway.ts';
import { parseMessage } from './message.ts';

/** The first JSON-RPC answer in a reply, for requests that the proxy makes itself. */
export async function readAnswer(reply: Reply): Promise<JsonObject | undefined> {
  if (reply.kind === 'lost') return undefined;
  if (reply.kind === 'text') return answerIn(reply.text);
  for await (const event of reply.events) {
    const answer = event.kind === 'message' ? answerIn(event.text) : undefined;
    if (answer !== undefined) return answer;
  }
  return undefined;
}

function answerIn(text: string): JsonObject | undefined {
  const message = parseMessage(text);
  return message.kind === 'answer' ? message.body : undefined;
}
