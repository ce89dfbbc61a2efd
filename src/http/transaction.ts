import { z } from '@hono/zod-openapi';
import { idOfUuid } from '../base/ids.ts';
import { invariant } from '../base/invariant.ts';
import { formatCredits } from '../base/money.ts';
import { BALANCE_KINDS, type Transaction, type TransactionKind } from '../ledger/transactions.ts';
import { amountOut, moment } from './words.ts';

type BalanceKind = (typeof BALANCE_KINDS)[number];

export const transactionOut = z
  .object({
    id: z.string(),
    type: z.enum(BALANCE_KINDS),
    credits: amountOut.openapi({ description: 'Signed. All of them sum to credits + escrow_credits.' }),
    subject: z
      .string()
      .nullable()
      .openapi({ description: 'What it is about: the call (`call_…`) or the top-up (`top_…`).' }),
    agent_id: z.string().nullable(),
    key_id: z.string().nullable(),
    description: z.string(),
    created_at: moment,
  })
  .openapi('Transaction');

export type TransactionBody = z.infer<typeof transactionOut>;

/** What each kind is about, and what a person is told of it. */
const KINDS: Record<BalanceKind, { about: 'call' | 'top' | undefined; describe(row: Transaction): string }> =
  {
    settle: { about: 'call', describe: ({ agentId }) => `Call of ${agentId}` },
    refund: {
      about: 'call',
      describe: ({ agentId, heldMicros }) =>
        `Call of ${agentId} failed: ${formatCredits(heldMicros)} held credits were given back`,
    },
    expire: {
      about: 'call',
      describe: ({ agentId, heldMicros }) =>
        `Call of ${agentId} never ended: ${formatCredits(heldMicros)} held credits were given back`,
    },
    grant: { about: undefined, describe: () => 'Credits granted by the operator' },
    top_up: { about: 'top', describe: () => 'Credits bought by card' },
    freeze: { about: 'top', describe: () => 'Kept back: the card payment that bought them is contested' },
    unfreeze: { about: 'top', describe: () => 'Free again: the card payment that bought them stands' },
    top_up_reversal: {
      about: 'top',
      describe: () => 'Taken back: the card payment that bought them was returned',
    },
    top_up_restored: { about: 'top', describe: () => 'Given back: the refund to the card failed' },
    reversal: { about: 'call', describe: () => 'Money back for a disputed call' },
    fee_reversal: { about: 'call', describe: () => 'Money back for a disputed call: the platform fee' },
  };

/** A movement of a buyer's balance, as its organization reads it. */
export function formatTransaction(row: Transaction): TransactionBody {
  const { kind } = row;
  invariant(isBalanceKind(kind), `a ${kind} does not happen to a balance`);
  return {
    id: endsHold(kind) ? idOfUuid('call', row.uuid) : idOfUuid('txn', row.uuid),
    type: kind,
    credits: formatCredits(row.changeMicros),
    subject: subjectOf(row, kind),
    agent_id: row.agentId ?? null,
    key_id: row.keyId ?? null,
    description: KINDS[kind].describe(row),
    created_at: row.createdAt.toISOString(),
  };
}

function subjectOf(row: Transaction, kind: BalanceKind): string | null {
  const { about } = KINDS[kind];
  // A call and a top-up are known by the id of the very row that pays for them.
  const uuid = row.subject ?? (endsHold(kind) || kind === 'top_up' ? row.uuid : undefined);
  return about === undefined || uuid === undefined ? null : idOfUuid(about, uuid);
}

function endsHold(kind: BalanceKind): boolean {
  return kind === 'settle' || kind === 'refund' || kind === 'expire';
}

function isBalanceKind(kind: TransactionKind): kind is BalanceKind {
  return (BALANCE_KINDS as readonly string[]).includes(kind);
}
