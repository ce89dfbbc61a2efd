import { connect, type Socket } from 'node:net';

/** An answer as it came over the socket: chunks put together, header lines sorted and in small letters. */
export type RawAnswer = { status: number; headers: string[]; body: string };

/** Sends these bytes, exactly as they are, over a connection of their own, and reads until the server closes it. */
export async function exchangeRaw(port: number, ...parts: (string | Uint8Array)[]): Promise<RawAnswer[]> {
  const connection = openRaw(port);
  for (const part of parts) connection.socket.write(part);
  await connection.closed;
  return connection.answers();
}

/** A connection that is written to by hand. What breaks it is no error of the test: what came over it says enough. */
export function openRaw(port: number): {
  socket: Socket;
  closed: Promise<void>;
  /** The whole answers so far. */
  answers(): RawAnswer[];
  /** Resolves when there are that many. */
  answered(count: number): Promise<RawAnswer[]>;
} {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  let text = '';
  socket.setEncoding('latin1').on('data', (part: string) => (text += part));
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const answers = (): RawAnswer[] => parseAnswers(text, socket.destroyed);
  return {
    socket,
    closed,
    answers,
    answered: async (count) => {
      for (;;) {
        const come = answers();
        if (come.length >= count) return come;
        if (socket.destroyed) throw new Error(`${come.length} answers of ${count} came:\n${text}`);
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            socket.off('data', wake).off('close', wake);
            resolve();
          };
          socket.on('data', wake).on('close', wake);
        });
      }
    },
  };
}

function parseAnswers(text: string, isOver: boolean): RawAnswer[] {
  const answers: RawAnswer[] = [];
  for (let rest = text; rest !== '';) {
    const end = rest.indexOf('\r\n\r\n');
    if (end === -1) break;
    const [statusLine = '', ...lines] = rest.slice(0, end).split('\r\n');
    const headers = lines.map((line) => line.replace(/^[^:]+/, (name) => name.toLowerCase()));
    const status = Number(statusLine.split(' ')[1]);
    const after = rest.slice(end + 4);
    const body = status < 200 ? { text: '', rest: after } : takeBody(headers, after, isOver);
    if (body === undefined) break;
    answers.push({ status, headers: headers.toSorted(), body: decode(body.text) });
    rest = body.rest;
  }
  return answers;
}

function takeBody(
  headers: string[],
  text: string,
  isOver: boolean,
): { text: string; rest: string } | undefined {
  const declared = headers.find((line) => line.startsWith('content-length: '))?.split(' ')[1];
  if (declared !== undefined) {
    const length = Number(declared);
    return text.length < length ? undefined : { text: text.slice(0, length), rest: text.slice(length) };
  }
  if (headers.includes('transfer-encoding: chunked')) return takeChunks(text);
  return isOver ? { text, rest: '' } : undefined;
}

function takeChunks(text: string): { text: string; rest: string } | undefined {
  let whole = '';
  for (let rest = text; ;) {
    const [, size = '', after] = /^([0-9a-f]+)\r\n([^]*)$/.exec(rest) ?? [];
    const length = Number.parseInt(size, 16);
    if (after === undefined || after.length < length + 2) return undefined;
    whole += after.slice(0, length);
    rest = after.slice(length + 2);
    if (length === 0) return { text: whole, rest };
  }
}

function decode(latin1: string): string {
  return Buffer.from(latin1, 'latin1').toString('utf8');
}
