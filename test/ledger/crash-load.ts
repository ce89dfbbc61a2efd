import { appendFileSync, openSync } from 'node:fs';
import { newId } from '../../src/base/ids.ts';
import { silentLog } from '../../src/base/log.ts';
import { Problem } from '../../src/base/problem.ts';
import { openDatabase } from '../../src/db/db.ts';
import { createLedger } from '../../src/ledger/ledger.ts';

/*
 * A gateway's worth of load on the ledger, to be killed. Every intent is in the file before it is asked and
 * every answer when it is known, so that what the books must say afterwards can be read from it:
 *
 *   hold ID AMOUNT · held ID placed|refused|unavailable · end ID settle|refund CHARGE FEE · ended ID done|lost
 *
 * Arguments: database URL, log file, accounts as JSON. It ends when its standard input does.
 */
const [url = '', file = '', accounts = ''] = process.argv.slice(2);
const { buyers, seller, fees } = JSON.parse(accounts) as { buyers: string[]; seller: string; fees: string };
const WORKERS = 30;

const log = openSync(file, 'a');
const write = (...words: unknown[]): void => appendFileSync(log, `${words.join(' ')}\n`);
const database = openDatabase(url, { log: silentLog, maxConnections: 1 });
const ledger = createLedger(database, silentLog);
const stopping = new AbortController();
process.stdin.resume().on('end', () => stopping.abort());

async function work(): Promise<void> {
  while (!stopping.signal.aborted) {
    const callId = newId('call');
    const amount = BigInt(Math.floor(Math.random() * 50));
    write('hold', callId, amount);
    const placed = await ledger
      .hold({
        callId,
        buyer: BigInt(buyers[Math.floor(Math.random() * buyers.length)] ?? 0),
        seller: BigInt(seller),
        fees: BigInt(fees),
        amountMicros: amount,
        ttlMs: 600_000,
        keyId: 'key_1',
        agentId: 'agt_test_v1',
        meters: [],
        idempotency: undefined,
      })
      .then(
        ({ kind }) => (kind === 'placed' ? 'placed' : 'refused'),
        (error: unknown) => {
          // Anything else would be a fault of ours, and ends the load with an error.
          if (error instanceof Problem && error.code === 'UNAVAILABLE') return 'unavailable';
          throw error;
        },
      );
    write('held', callId, placed);
    if (placed !== 'placed') continue;
    const isSettle = Math.random() < 0.8;
    const charge = isSettle ? amount - amount / 3n : 0n;
    const fee = charge / 10n;
    write('end', callId, isSettle ? 'settle' : 'refund', charge, fee);
    const ended = isSettle ? await ledger.settle(callId, charge, fee) : await ledger.refund(callId);
    write('ended', callId, ended.kind);
  }
}

await Promise.all(Array.from({ length: WORKERS }, work));
await ledger.close();
await database.close();
