import { type JsonObject, isJsonObject } from '../base/json.ts';
import type { Exchange } from './exchange.ts';
import { type Message, type MessageId, claimedVersion } from './message.ts';

/** An exchange as the relay keeps it in its table. */
export type UnderWay = Exchange & {
  /** Resolves when it is answered or cancelled. */
  settledSoon: Promise<void>;
  resolveSettled(): void;
  /** Cuts the connection some time after the answer. */
  linger: NodeJS.Timeout | undefined;
  /** The highest progress the host was told. */
  lastProgress: number;
};

/** A request of the host that was just accepted. `text` is what will be sent. */
export function openExchange(id: MessageId, method: string, params: JsonObject, text: string): UnderWay {
  let resolveSettled = (): void => {};
  const settledSoon = new Promise<void>((resolve) => (resolveSettled = resolve));
  return {
    id,
    method,
    params,
    text,
    stateless: claimedVersion(params) !== undefined,
    abort: new AbortController(),
    settled: false,
    settledSoon,
    resolveSettled,
    linger: undefined,
    lastProgress: Number.NEGATIVE_INFINITY,
  };
}

/** A call that was sent again tells its progress again; MCP wants it to rise, so the host hears only what is new. */
export function repeatsProgress(exchange: UnderWay, message: Message): boolean {
  if (message.kind !== 'notification' || message.method !== 'notifications/progress') return false;
  const meta = exchange.params['_meta'];
  const { progress, progressToken } = message.params;
  if (typeof progress !== 'number' || !isJsonObject(meta) || meta['progressToken'] !== progressToken)
    return false;
  if (progress <= exchange.lastProgress) return true;
  exchange.lastProgress = progress;
  return false;
}
