import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { createClient, type Client } from '../../client/client.ts';
import { ApiProblem } from '../../client/failures.ts';
import { addCommand, examples } from '../command.ts';
import { dataDirectory, findConnection, type Connection } from '../connection.ts';
import { CommandFailure, describeFailure } from '../describe-failure.ts';
import { printJson, printTable } from '../print.ts';
import type { Runtime } from '../runtime.ts';
import { checkLedger } from './doctor-ledger.ts';

/** `fix` says what to do, where something is wrong. */
type Check = { name: string; ok: boolean; detail: string; fix?: string };

const OLDEST_NODE = 22;
const MOST_SKEW_MS = 30_000;

/** `sentinel doctor`: looks at everything a command needs, and says what to do about what is wrong. */
export function addDoctor(program: Command, { environment }: Runtime): void {
  addCommand(program, 'doctor', 'check this machine and the gateway it speaks to')
    .addHelpText(
      'after',
      examples(
        'sentinel doctor',
        'sentinel doctor --ledger',
        'SENTINEL_URL=https://… SENTINEL_API_KEY=sk_… sentinel doctor',
      ),
    )
    .option('--ledger', 'compare the books instead: balances, journal, holds, calls, receipts, Stripe')
    .action(async (options: { json?: boolean; ledger?: boolean }) => {
      if (options.ledger) return checkLedger(environment, options);
      const connection = await findConnection(environment);
      const checks = [
        checkNode(process.versions.node),
        ...(await checkKeyFile(connection, dataDirectory(environment))),
        ...(await checkGateway(connection)),
      ];
      if (options.json) printJson({ checks });
      else
        printTable(
          ['', 'CHECK', 'FOUND', 'WHAT TO DO'],
          checks.map(({ ok, name, detail, fix }) => [ok ? 'ok' : 'fail', name, detail, fix ?? ' ']),
        );
      const failed = checks.filter(({ ok }) => !ok).map(({ name }) => name);
      if (failed.length > 0) throw new CommandFailure(`Not everything is well: ${failed.join(', ')}.`);
    });
}

function checkNode(version: string): Check {
  const ok = Number.parseInt(version, 10) >= OLDEST_NODE;
  return {
    name: 'node',
    ok,
    detail: `v${version}`,
    ...(ok ? {} : { fix: `Run it with npx, or install Node.js ${OLDEST_NODE} or newer.` }),
  };
}

async function checkKeyFile(connection: Connection, directory: string): Promise<Check[]> {
  const name = 'key file';
  if (connection.keyFrom === 'SENTINEL_API_KEY') return [];
  const file = join(directory, 'operator-key');
  const found = await stat(file).catch(() => undefined);
  if (!found) {
    const fix = 'Start the gateway with "npm start", or set SENTINEL_URL and SENTINEL_API_KEY.';
    return [{ name, ok: false, detail: `there is no ${file}`, fix }];
  }
  const mode = found.mode & 0o777;
  const ok = process.platform === 'win32' || (mode & 0o077) === 0;
  const detail = `${file}, mode ${mode.toString(8)}`;
  return [{ name, ok, detail, ...(ok ? {} : { fix: `Others can read it: chmod 600 ${file}` }) }];
}

async function checkGateway(connection: Connection): Promise<Check[]> {
  const client = createClient({ ...connection, timeoutMs: 5_000 });
  const alive = await attempt('gateway', async () => {
    await client.health();
    return { ok: true, detail: connection.url };
  });
  if (!alive.ok) return [alive];
  return [
    alive,
    await attempt('ready', async () => {
      const { status, database, ledger, changes, limits } = await client.ready();
      const detail = `database ${database}, ledger ${ledger}, changes ${changes}, limits ${limits}`;
      const ok = status === 'ready';
      return { ok, detail, ...(ok ? {} : { fix: "Look at the gateway's log; start with the database." }) };
    }),
    await attempt('key', async () => {
      if (connection.apiKey === undefined) {
        return { ok: false, detail: 'none', fix: 'Set SENTINEL_API_KEY.' };
      }
      return { ok: true, detail: await describeKey(client) };
    }),
    await attempt('gateway clock', async () => {
      const { clock, clock_ahead_ms: aheadMs } = await client.ready();
      const seconds = Math.round(Math.abs(aheadMs) / 1_000);
      const detail = `${seconds} s ${aheadMs < 0 ? 'behind' : 'ahead of'} its database`;
      const fix = "Set the clock of the gateway's machine, or of its database's; until then it runs no jobs.";
      return clock === 'ok' ? { ok: true, detail } : { ok: false, detail, fix };
    }),
    await attempt('clock', async () => {
      const { date } = await client.ready();
      const skewMs = date === undefined ? 0 : Math.abs(Date.now() - date.getTime());
      const ok = skewMs <= MOST_SKEW_MS;
      const detail = `${Math.round(skewMs / 1_000)} s apart`;
      return { ok, detail, ...(ok ? {} : { fix: 'Set the clock of the machine that is wrong.' }) };
    }),
  ];
}

/** A buyer's key may not ask for the state of the gateway, and is no worse for it. */
async function describeKey(client: Client): Promise<string> {
  try {
    const { version, agents } = await client.status();
    return `accepted; Sentinel ${version}, ${agents} agents for sale`;
  } catch (error) {
    if (error instanceof ApiProblem && error.code === 'FORBIDDEN') return "accepted; not the operator's";
    throw error;
  }
}

async function attempt(name: string, check: () => Promise<Omit<Check, 'name'>>): Promise<Check> {
  try {
    return { name, ...(await check()) };
  } catch (error) {
    const [detail, fix] = describeFailure(error).split(/\. (?=Start it)/);
    return { name, ok: false, detail: detail ?? '', ...(fix === undefined ? {} : { fix }) };
  }
}
