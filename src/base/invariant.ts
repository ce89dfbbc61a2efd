/** A bug in our own code. Nothing may catch it but the outermost error handler. */
export class InvariantViolation extends Error {
  override readonly name = 'InvariantViolation';
}

/** Throws when something we promised ourselves is false. Never used to judge input. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantViolation(message);
}

/** Closes an exhaustive switch: adding a case without handling it fails to compile. */
export function unreachable(value: never): never {
  throw new InvariantViolation(`unexpected value: ${JSON.stringify(value)}`);
}
