import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serveAsChild } from '../child.ts';

// The agent everybody forwards to: an MCP server on bare node:http, as cheap as one can be. It answers
// `initialize` and `tools/list` for the peers that ask, and echoes `tools/call`.
const TOOL = {
  name: 'echo',
  description: 'Echoes the text.',
  inputSchema: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] },
};

function resultOf(method: string, params: { arguments?: { text?: string } } | undefined): unknown {
  switch (method) {
    case 'initialize':
      return {
        protocolVersion: '2025-11-25',
        capabilities: { tools: {} },
        serverInfo: { name: 'echo', version: '1.0.0' },
      };
    case 'tools/list':
      return { tools: [TOOL] };
    default:
      return { content: [{ type: 'text', text: params?.arguments?.text ?? '' }] };
  }
}

const server = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => {
    if (request.method !== 'POST') {
      response.writeHead(405).end();
      return;
    }
    const { id, method, params } = JSON.parse(Buffer.concat(parts).toString()) as {
      id?: number;
      method: string;
      params?: { arguments?: { text?: string } };
    };
    if (id === undefined) {
      response.writeHead(202).end();
      return;
    }
    const body = JSON.stringify({ jsonrpc: '2.0', id, result: resultOf(method, params) });
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    });
    response.end(body);
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  serveAsChild({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp` });
});
