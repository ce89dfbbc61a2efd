import autocannon from 'autocannon';

export type Load = { perSecond: number; p50Ms: number; p99Ms: number; total: number };

// As many callers as the ledger's figures are measured with.
const CONNECTIONS = 100;

/** Sends `tools/call` over 100 connections, every request with an id of its own. Throws when one fails. */
export async function load(
  url: string,
  tool: string,
  options: { seconds: number; headers?: Record<string, string>; text?: string },
): Promise<Load> {
  const body = JSON.stringify({
    jsonrpc: '2.0',
    id: '[<id>]',
    method: 'tools/call',
    params: { name: tool, arguments: { text: options.text ?? 'hello' } },
  });
  const result = await autocannon({
    url,
    connections: CONNECTIONS,
    duration: options.seconds,
    method: 'POST',
    idReplacement: true,
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-11-25',
      ...options.headers,
    },
    body,
  });
  if (result.errors > 0 || result.non2xx > 0) {
    throw new Error(`${url}: ${result.errors} errors, ${result.non2xx} answers that are not 2xx`);
  }
  return {
    perSecond: result.requests.total / result.duration,
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
    total: result.requests.total,
  };
}
