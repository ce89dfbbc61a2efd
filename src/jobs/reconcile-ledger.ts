import type { Log } from '../base/log.ts';
import type { Reconcile } from '../calls/reconcile.ts';

// Enough to see what kind of wrong it is; `sentinel doctor --ledger` names them all.
const NAMED = 20;

/** Compares all books, and says each difference out loud: they are never a matter of course. */
export async function reconcileLedger(reconcile: Reconcile, log: Log): Promise<void> {
  const { count, differences, notCompared, comparisons } = await reconcile(NAMED);
  for (const difference of differences) log('error', 'the books do not agree', difference);
  for (const { what, why } of notCompared) {
    if (why === 'failed') log('warn', 'books were not compared', { books: what });
  }
  log(count === 0 ? 'info' : 'error', 'the books were compared', {
    comparisons: comparisons.length,
    differences: count,
  });
}
