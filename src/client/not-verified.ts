/** Why something is not proven, in one sentence for a person. */
export class NotVerified extends Error {
  override readonly name = 'NotVerified';
}

/** Throws unless it is so. */
export function assertProven(isSo: unknown, sentence: string): asserts isSo {
  if (!isSo) throw new NotVerified(sentence);
}
