import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { traceOf, type Log } from '../base/log.ts';
import { continueWhenRead } from './expect-continue.ts';
import type { Assembled } from './assemble.ts';
import { exchangeOver, sendAnswer } from './node-exchange.ts';
import { closeInStages, READ_ON, type ReadOnLimits } from './staged-close.ts';

/** What a socket answers with. */
export type Served = Pick<Assembled, 'app' | 'door' | 'mcp'>;

export type Socket = {
  server: Server;
  answerWith(gateway: Served): void;
  /** Answers that are not wholly handed to the operating system yet. */
  answersUnderWay(): number;
};

/**
 * The gateway's HTTP server. The MCP endpoint answers straight from the socket, and the app everything else:
 * fetch's objects, the router and the middleware were measured to cost 10 µs of a list and 15 to 20 of a call.
 *
 * It opens before the gateway is built, because the gateway's public address may depend on the port it got;
 * until then every request is told to come back.
 */
export function createSocket(log: Log, readOn: ReadOnLimits = READ_ON): Socket {
  let gateway: Served | undefined;
  let underWay = 0;
  const ended = (): void => {
    underWay -= 1;
  };
  const askApp = getRequestListener(
    (request, environment) => (gateway ? gateway.app.fetch(request, environment) : starting()),
    // What is left of a body is read on below, for both ways and longer than half a second.
    { autoCleanupIncoming: false },
  );

  const answer = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    if (!stages.admit(incoming, outgoing)) return;
    underWay += 1;
    outgoing.once('close', ended);
    if (gateway && answerStraight(incoming, outgoing, gateway, log)) return;
    void askApp(incoming, outgoing);
  };
  const server = createServer(answer);
  const stages = closeInStages(server, readOn);
  server.on('checkContinue', (incoming, outgoing) => {
    continueWhenRead(incoming, outgoing);
    answer(incoming, outgoing);
  });
  return {
    server,
    answersUnderWay: () => underWay,
    answerWith: (built) => {
      gateway = built;
    },
  };
}

/** False, and nothing done, for a request that is the app's. */
function answerStraight(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { door, mcp }: Served,
  log: Log,
): boolean {
  const { method = '', url: target = '', headers } = incoming;
  const question = target.indexOf('?');
  const handle = mcp.find(method, question === -1 ? target : target.slice(0, question));
  if (!handle || hasRepeatedHeader(incoming)) return false;
  const { host, origin } = headers;
  const letIn = door.letIn({
    host,
    origin,
    target,
    requestId: headers['x-request-id'] as string | undefined,
  });
  if (!letIn) return false;

  handle(exchangeOver(incoming, outgoing, letIn.requestId))
    .then((answer) => sendAnswer(answer, incoming, outgoing, letIn.headers))
    .catch((error: unknown) => {
      log('error', 'an answer could not be sent', { request: letIn.requestId, error: traceOf(error) });
      outgoing.destroy();
    });
  return true;
}

/** Node keeps the first of some headers and joins others; the app sees all of each, joined. */
function hasRepeatedHeader({ headers, rawHeaders }: IncomingMessage): boolean {
  let names = 0;
  for (const _ in headers) names += 1;
  return names * 2 !== rawHeaders.length;
}

function starting(): Response {
  return Response.json(
    {
      title: 'Not available right now',
      status: 503,
      code: 'UNAVAILABLE',
      detail: 'The gateway is starting.',
    },
    { status: 503, headers: { 'content-type': 'application/problem+json', 'retry-after': '1' } },
  );
}
