import { startMcpServer } from '../../src/demo/mcp-server.ts';
import { silentLog } from '../../src/base/log.ts';

// A parent to be killed: says where its MCP server listens, and lives on.
const server = await startMcpServer({ port: 0, log: silentLog });
process.send?.(server.origin);
