import type { ReconciliationBody } from '../../client/client.ts';
import { connect, type Environment } from '../connection.ts';
import { CommandFailure } from '../describe-failure.ts';
import { printJson, printLine, printTable } from '../print.ts';

/** Where the ledger is large, reading all of it takes its time. */
const TIMEOUT_MS = 15 * 60_000;
const MOST_NAMED = 10_000;

/** `sentinel doctor --ledger`: whether the books agree, difference by difference. */
export async function checkLedger(environment: Environment, options: { json?: boolean }): Promise<void> {
  const found = await (await connect(environment, TIMEOUT_MS)).reconciliation({ limit: MOST_NAMED });
  if (options.json) printJson(found);
  else print(found);
  const failed = found.not_compared.filter(({ why }) => why === 'failed').map(({ what }) => what);
  if (found.difference_count > 0) throw new CommandFailure(disagreement(found.difference_count));
  if (failed.length > 0) {
    throw new CommandFailure(
      `Not everything could be compared: ${failed.join(', ')}. See the gateway's log.`,
    );
  }
}

function print({ comparisons, differences, difference_count, not_compared }: ReconciliationBody): void {
  if (differences.length > 0) {
    printTable(
      ['WHAT', 'ID', 'EXPECTED', 'FOUND'],
      differences.map(({ what, id, expected, found }) => [what, id, expected, found]),
    );
  }
  if (difference_count > differences.length) {
    printLine(`… and ${difference_count - differences.length} more.`);
  }
  for (const { what, why } of not_compared) {
    printLine(why === 'failed' ? `${what}: could not be compared.` : `${what}: ${why}, not compared.`);
  }
  if (difference_count === 0) printLine(`The books agree: ${comparisons.length} comparisons, no difference.`);
}

function disagreement(count: number): string {
  return `The books do not agree: ${count} ${count === 1 ? 'difference' : 'differences'}.`;
}
