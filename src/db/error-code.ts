/** True for an error with that code, of the driver or of PostgreSQL. Drizzle wraps them, so every cause is looked at. */
export function hasCode(error: unknown, code: RegExp): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ('code' in at && typeof at.code === 'string' && code.test(at.code)) return true;
  }
  return false;
}
