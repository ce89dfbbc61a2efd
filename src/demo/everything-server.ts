/**
 * Runs as a process of its own: the reference MCP server of a third party, over Streamable HTTP, on loopback
 * only. It tells its parent the port over the IPC channel, and ends when that channel closes, which it does
 * even when the parent is killed.
 */
import { Server, type AddressInfo } from 'node:net';

process.on('disconnect', () => process.exit(0));
if (!process.connected) process.exit(1);

// The package reads only PORT and would listen on every interface, offering tools we do not sell.
// oxlint-disable-next-line typescript/unbound-method -- it is called with its server below
const listen = Server.prototype.listen;
Server.prototype.listen = function (this: Server, ...args: unknown[]) {
  const [port, onListening] = args as [number | string, () => void];
  this.once('listening', () => process.send?.({ port: (this.address() as AddressInfo).port }));
  return listen.call(this, { port: Number(port), host: '127.0.0.1' }, onListening);
} as typeof listen;

process.argv.push('streamableHttp');
const script = import.meta.resolve('@modelcontextprotocol/server-everything/dist/index.js');
await import(script);
