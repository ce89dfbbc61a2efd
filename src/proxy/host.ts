import type { Readable, Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';

/** The largest message a host may send: more than the gateway ever takes, which has 50 MiB for arguments at most. */
const MAX_LINE_CHARACTERS = 64 * 1024 * 1024;

/** A line from the host, or the news that it was too long to keep. */
export type HostLine = { kind: 'line'; text: string } | { kind: 'too-long' };

/** The host's side: JSON-RPC messages, one per line (MCP, stdio transport). */
export type Host = {
  /** Ends when the host closes our stdin. */
  lines(): AsyncGenerator<HostLine>;
  /** Resolves when the host has room for more, so whoever awaits it slows down with the host. */
  write(text: string): Promise<void>;
  /** Resolves when everything written has been handed to the operating system. */
  flush(): Promise<void>;
};

export function connectHost(input: Readable, output: Writable): Host {
  let drained: Promise<void> | undefined;
  return {
    lines: () => readLines(input),
    async write(text) {
      // A pretty-printed answer is legal JSON, but here a line break would end the message.
      const line = /[\r\n]/.test(text) ? text.replace(/[\r\n]+/g, ' ') : text;
      if (output.destroyed || output.write(`${line}\n`)) return;
      drained ??= new Promise<void>((resolve) => {
        const done = (): void => {
          output.off('drain', done).off('close', done);
          drained = undefined;
          resolve();
        };
        output.on('drain', done).on('close', done);
      });
      await drained;
    },
    flush: () => new Promise((resolve) => (output.destroyed ? resolve() : output.write('', () => resolve()))),
  };
}

async function* readLines(input: Readable): AsyncGenerator<HostLine> {
  const decoder = new StringDecoder('utf8');
  // Parts of one long line are kept apart and joined once: adding them up would copy it again for each part.
  let parts: string[] = [];
  let length = 0;
  let skipping = false;

  for await (const chunk of input as AsyncIterable<Buffer>) {
    let text = decoder.write(chunk);
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n')) {
      const line = parts.join('') + text.slice(0, end);
      text = text.slice(end + 1);
      parts = [];
      length = 0;
      if (skipping) skipping = false;
      else if (line.trim() !== '') yield { kind: 'line', text: line };
    }
    if (skipping || text === '') continue;
    parts.push(text);
    length += text.length;
    if (length > MAX_LINE_CHARACTERS) {
      skipping = true;
      parts = [];
      length = 0;
      yield { kind: 'too-long' };
    }
  }
  // A host that closes without a final line break still meant its last message.
  const rest = parts.join('') + decoder.end();
  if (!skipping && rest.trim() !== '') yield { kind: 'line', text: rest };
}
