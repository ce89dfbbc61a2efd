import type { Log } from '../base/log.ts';
import type { ReceiptTemplate } from '../base/receipt.ts';
import type { Database } from '../db/db.ts';
import { invariant } from '../base/invariant.ts';
import { idOfUuid, uuidOfId } from '../base/ids.ts';
import type { HoldOrder, ReceiptOrder, ReceiptPlace } from './batch.ts';
import { readHoldCode, readResolutionCode, type HoldAnswer } from './codes.ts';
import { createGroupCommit } from './group-commit.ts';
import { IDEMPOTENCY_TTL_MS } from './idempotency.ts';

export type { HoldAnswer, ReceiptOrder, ReceiptPlace };

/** What a call asks to be set aside. */
export type HoldRequest = Omit<HoldOrder, 'callUuid'> & { callId: string };

export type ResolveAnswer =
  /**
   * It is so now, whether by this request or by an earlier one that said the same. `place` is where the
   * receipt stands that came with this request, when it was this request that did it.
   */
  | { kind: 'done'; place: ReceiptPlace | undefined }
  /** Someone resolved the hold the other way first, or it expired: what was asked did not happen. */
  | { kind: 'lost' };

/** A hold the sweeper gave back because nobody resolved it in time. */
export type ExpiredHold = {
  callId: string;
  keyId: string;
  agentId: string;
  amountMicros: bigint;
  buyer: bigint;
  openedAt: Date;
};

/** The only way to move a call's credits. */
export type Ledger = {
  /** Sets credits aside, or says why not. Throws UNAVAILABLE when the database is away: then nothing is held. */
  hold(request: HoldRequest): Promise<HoldAnswer>;
  /** Pays seller and platform from an open hold; the rest goes back. Never more than once, never after expiry. */
  settle(
    callId: string,
    chargeMicros: bigint,
    feeMicros: bigint,
    receipt?: ReceiptOrder,
  ): Promise<ResolveAnswer>;
  /** Gives an open hold back in full. */
  refund(callId: string, receipt?: ReceiptOrder): Promise<ResolveAnswer>;
  /**
   * Refunds holds past their expiry, at most `limit`, whichever process placed them. `receipts` is the form of their
   * receipts, for PostgreSQL's `format`: no process is left to write them.
   */
  expireHolds(limit: number, receipts: ReceiptTemplate): Promise<ExpiredHold[]>;
  /** Holds and resolutions waiting to be committed. */
  depth(): number;
  close(): Promise<void>;
};

export function createLedger(database: Database, log: Log): Ledger {
  const commit = createGroupCommit(database.url, { log, idempotencyTtlMs: IDEMPOTENCY_TTL_MS });

  async function resolve(
    callId: string,
    kind: 'settle' | 'refund',
    chargeMicros: bigint,
    feeMicros: bigint,
    receipt: ReceiptOrder | undefined,
  ): Promise<ResolveAnswer> {
    const { code, place } = await commit.resolve({
      callUuid: callUuid(callId),
      kind,
      chargeMicros,
      feeMicros,
      ...(receipt ? { receipt } : {}),
    });
    const answer = readResolutionCode(code);
    invariant(answer, `the ledger answered ${code} to a ${kind} of ${callId}`);
    return answer === 'done' ? { kind: 'done', place } : { kind: 'lost' };
  }

  return {
    hold: async ({ callId, ...order }) => {
      const code = await commit.hold({ ...order, callUuid: callUuid(callId) });
      const answer = readHoldCode(code);
      invariant(answer, `the ledger answered ${code} to the hold of ${callId}`);
      return answer;
    },
    settle: (callId, chargeMicros, feeMicros, receipt) =>
      resolve(callId, 'settle', chargeMicros, feeMicros, receipt),
    refund: (callId, receipt) => resolve(callId, 'refund', 0n, 0n, receipt),
    expireHolds: async (limit, { before, after }) => {
      const { rows } = await database.pool.query<ExpiredRow>('SELECT * FROM ledger_expire($1, $2, $3)', [
        limit,
        before,
        after,
      ]);
      return rows.map((row) => ({
        callId: idOfUuid('call', row.call_id),
        keyId: row.key_id,
        agentId: row.agent_id,
        amountMicros: BigInt(row.amount),
        buyer: BigInt(row.buyer),
        openedAt: row.opened_at,
      }));
    },
    depth: () => commit.depth(),
    close: () => commit.close(),
  };
}

type ExpiredRow = {
  call_id: string;
  key_id: string;
  agent_id: string;
  amount: string;
  buyer: string;
  opened_at: Date;
};

function callUuid(callId: string): string {
  const uuid = uuidOfId('call', callId);
  invariant(uuid !== undefined, `${callId} is not a call id`);
  return uuid;
}
