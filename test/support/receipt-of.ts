import { readReceipt, type Receipt, type SignedReceipt } from '../../src/audit/receipts.ts';

/** What the receipt of a call that ended says; nothing where it has none. */
export function receiptOf({ receipt }: { receipt?: SignedReceipt | undefined }): Partial<Receipt> {
  return receipt ? readReceipt(receipt) : {};
}
