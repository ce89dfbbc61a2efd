import type { SignedReceipt } from '../audit/receipts.ts';
import type { Caller } from '../identity/caller.ts';
import type { CallAnswer } from './call.ts';
import type { CallDeps } from './deps.ts';
import { findCall, markDelivered, type CallView } from './records.ts';

/** What became of a call, as far as its reader may know. */
export type CallFound = {
  call: CallView;
  /** Its answer, where it is kept and the reader is the key that bought it. */
  handedOver: { answer: CallAnswer; receipt: SignedReceipt } | undefined;
};

/**
 * Looks a call of the reader's organization up, and hands its kept answer over. To ask is to receive: the answer
 * counts as delivered and waits for no identical call any more, but its buyer may ask for it again while it is
 * kept. Only the key that bought it gets it: a host may hold one key of an organization, and what another host
 * bought is not its business. The operator sees what happened in every organization, and not what was bought.
 * Undefined for a call that is not there, is another's, or is still running.
 */
export async function handOver(
  callId: string,
  reader: Caller,
  deps: CallDeps,
): Promise<CallFound | undefined> {
  // Records are written behind the answer; a buyer who asks for the call it has just made must find it.
  await deps.recorder.flushed();
  const own = await findCall(deps.db, callId, reader.organizationId);
  if (!own) {
    const others = reader.scopes.has('operator') ? await findCall(deps.db, callId, undefined) : undefined;
    return others && { call: others, handedOver: undefined };
  }
  if (own.outcome !== 'settled' || own.key_id !== reader.keyId) return { call: own, handedOver: undefined };
  const answer = await deps.results.takeKept(callId);
  const receipt = answer && (await deps.receipts.find(callId));
  if (!answer || !receipt) return { call: own, handedOver: undefined };
  if (!own.delivered) await markDelivered(deps.db, callId);
  return { call: { ...own, delivered: true }, handedOver: { answer, receipt } };
}
