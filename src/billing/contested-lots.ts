/** One lot of credits whose payment was ever given back to the card or contested. All in micro-credits. */
export type Lot = {
  id: string;
  /** What has to be taken back: given back to the card, or lost in a dispute. Falls when a refund fails. */
  dueMicros: bigint;
  /** What may have to be: the dispute is open. */
  contestedMicros: bigint;
  /** What was taken back so far, and what is frozen now. */
  reversedMicros: bigint;
  frozenMicros: bigint;
};

/**
 * A movement of one lot's credits. `reverse` pays out of what is frozen or out of the balance; `restore` gives
 * back to the balance what was reversed and is not due any more.
 */
export type Movement = {
  lotId: string;
  kind: 'freeze' | 'unfreeze' | 'reverse' | 'restore';
  from: 'balance' | 'frozen' | 'funding';
  amountMicros: bigint;
};

export type SettledLot = Lot & { owedMicros: bigint };

/**
 * What has to move so that every lot of one balance has what it must have, as far as the credits reach. Debts
 * come before freezing, also before credits that are frozen for another lot: the sums in the end are the same
 * whatever order the facts came in. What a lot still lacks is owed.
 */
export function decideMovements(
  lots: readonly Lot[],
  availableMicros: bigint,
): { movements: Movement[]; lots: SettledLot[] } {
  const movements: Movement[] = [];
  const settled = lots.map((lot) => ({ ...lot, owedMicros: 0n }));
  let available = availableMicros;
  const owedBy = (lot: Lot): bigint => lot.dueMicros - lot.reversedMicros;

  function move(lot: Lot, kind: Movement['kind'], from: Movement['from'], amountMicros: bigint): void {
    if (amountMicros <= 0n) return;
    movements.push({ lotId: lot.id, kind, from, amountMicros });
    if (from === 'frozen') lot.frozenMicros -= amountMicros;
    if (from === 'balance') available -= amountMicros;
    if (from === 'funding') lot.reversedMicros -= amountMicros;
    if (kind === 'freeze') lot.frozenMicros += amountMicros;
    if (kind === 'reverse') lot.reversedMicros += amountMicros;
    if (kind === 'unfreeze' || kind === 'restore') available += amountMicros;
  }

  for (const lot of settled) {
    move(lot, 'restore', 'funding', lot.reversedMicros - lot.dueMicros);
    move(lot, 'reverse', 'frozen', least(lot.frozenMicros, owedBy(lot)));
    move(lot, 'unfreeze', 'frozen', lot.frozenMicros - lot.contestedMicros);
  }
  const debt = settled.reduce((sum, lot) => sum + owedBy(lot), 0n);
  for (const lot of settled) move(lot, 'unfreeze', 'frozen', least(lot.frozenMicros, debt - available));
  for (const lot of settled) move(lot, 'reverse', 'balance', least(available, owedBy(lot)));
  for (const lot of settled) {
    move(lot, 'freeze', 'balance', least(available, lot.contestedMicros - lot.frozenMicros));
    lot.owedMicros = owedBy(lot);
  }
  return { movements, lots: settled };
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
