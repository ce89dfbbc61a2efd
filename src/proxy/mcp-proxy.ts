#!/usr/bin/env node
import { setTimeout as sleep } from 'node:timers/promises';
import { HELP, parseCommandLine } from './command-line.ts';
import { examine, formatChecks } from './doctor.ts';
import { connectGateway } from './gateway.ts';
import { type Host, connectHost } from './host.ts';
import { formatError, parseMessage } from './message.ts';
import manifest from './package.json' with { type: 'json' };
import { redact } from './redact.ts';
import { startRelay } from './relay.ts';
import { type RefusedSettings, readSettings } from './settings.ts';
import { refuseSettings } from './words.ts';

const USER_AGENT = `sentinel-mcp-proxy/${manifest.version}`;
const FLUSH_TIMEOUT_MS = 1_000;
const TOO_LONG = 'Invalid request: the message is longer than 64 MiB';

// A log that nobody reads any more is no reason to die.
process.stderr.on('error', () => {});

const command = parseCommandLine(process.argv.slice(2));
switch (command.kind) {
  case 'serve':
    await serve();
    break;
  case 'doctor': {
    const checks = await examine(process.env, USER_AGENT);
    const healthy = checks.every(({ status }) => status !== 'failed');
    process.stdout.write(
      `${command.json ? JSON.stringify({ ok: healthy, checks }) : formatChecks(checks)}\n`,
    );
    process.exitCode = healthy ? 0 : 1;
    break;
  }
  case 'help':
    process.stdout.write(HELP);
    break;
  case 'version':
    process.stdout.write(`${manifest.version}\n`);
    break;
  case 'refused':
    log(command.words);
    process.exitCode = 2;
    break;
}

async function serve(): Promise<void> {
  const settings = readSettings(process.env);
  const host = connectHost(process.stdin, process.stdout);
  if (settings.kind === 'refused') return refuseHost(host, settings);

  if (process.stdin.isTTY)
    log('This is an MCP server: a host starts it and speaks to it here. Try `mcp-proxy doctor` or --help.');
  const { url, key, retryWindowMs } = settings;
  const gateway = await connectGateway(url, key, USER_AGENT);
  const relay = startRelay({ host, gateway, url, key, retryWindowMs, log });

  let leaving = false;
  const leave = async (): Promise<void> => {
    if (leaving) return;
    leaving = true;
    await relay.close();
    // A host that has stopped reading cannot keep us here.
    await Promise.race([host.flush(), sleep(FLUSH_TIMEOUT_MS)]);
    process.exit(0);
  };
  // EPIPE: the host is gone, and with it everyone we work for.
  process.stdout.on('error', () => void leave());
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void leave());

  try {
    for await (const line of host.lines()) {
      if (line.kind === 'line') relay.accept(line.text);
      else void host.write(formatError(null, -32600, TOO_LONG));
    }
  } catch {
    // A broken stdin means the same as a closed one.
  }
  await leave();
}

/**
 * Without a usable key or URL there is nothing to relay. Some hosts show stderr, most show only the answer
 * to `initialize`: say it in both places, and stay until the host has read it.
 */
async function refuseHost(host: Host, settings: RefusedSettings): Promise<void> {
  process.exitCode = 1;
  log(settings.words);
  if (process.stdin.isTTY) return;
  process.stdout.on('error', () => process.exit(1));
  const { code, message, data } = refuseSettings(settings);
  for await (const line of host.lines()) {
    const request = line.kind === 'line' ? parseMessage(line.text) : undefined;
    if (request?.kind === 'request') await host.write(formatError(request.id, code, message, data));
    else if (request?.kind === 'malformed')
      await host.write(formatError(request.id, request.code, request.words));
  }
}

function log(line: string): void {
  process.stderr.write(`sentinel-mcp-proxy: ${redact(line)}\n`);
}
