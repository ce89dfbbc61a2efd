import { and, asc, eq, gt, lte } from 'drizzle-orm';
import { databaseNow } from '../db/database-clock.ts';
import type { Db } from '../db/db.ts';
import { decideDispute } from './decide-dispute.ts';
import { isReasonOfRefund } from './charged-call.ts';
import type { BillingDeps } from './deps.ts';
import { lockDispute } from './disputes.ts';
import { disputes } from './tables.ts';

const PAGE = 100;
const EXPLANATION = 'The seller did not answer in time, and silence refunds.';
const WAS_REPEATED =
  'The seller did not answer in time. The same purchase made twice was given back once already, because this call ' +
  'stood for the other one; silence does not give back both.';

/**
 * Refunds every claim its seller has not answered in time; tells how many. One about a call whose repetition was
 * refunded is rejected: nobody has to speak up to be paid for one of two equal calls. Each is a transaction of its own, so
 * any number of workers may run, and one that cannot be decided does not keep the others waiting.
 */
export async function decideOverdueDisputes(deps: BillingDeps): Promise<number> {
  let refunded = 0;
  let after: string | undefined;
  for (;;) {
    const page = await listOverdue(deps.db, after);
    for (const { id } of page) {
      try {
        if (await decideOverdue(deps, id)) refunded += 1;
      } catch (error) {
        deps.log('error', 'an overdue dispute could not be decided', { dispute: id, error: String(error) });
      }
    }
    after = page.at(-1)?.id;
    if (page.length < PAGE) return refunded;
  }
}

async function listOverdue(db: Db, after: string | undefined): Promise<{ id: string }[]> {
  return db
    .select({ id: disputes.id })
    .from(disputes)
    .where(
      and(
        eq(disputes.status, 'open'),
        lte(disputes.answerBy, databaseNow),
        after === undefined ? undefined : gt(disputes.id, after),
      ),
    )
    .orderBy(asc(disputes.id))
    .limit(PAGE);
}

/** False when nothing was refunded, or somebody else decided it since it was listed. */
async function decideOverdue(deps: BillingDeps, uuid: string): Promise<boolean> {
  return deps.db.transaction(async (tx) => {
    const dispute = await lockDispute(tx, uuid);
    if (dispute.status !== 'open') return false;
    const isLast = await isReasonOfRefund(tx, dispute.callId);
    const refundedMicros = isLast ? 0n : dispute.claimedMicros;
    const explanation = isLast ? WAS_REPEATED : EXPLANATION;
    await decideDispute(tx, dispute, { decidedBy: 'silence', refundedMicros, explanation });
    return !isLast;
  });
}
