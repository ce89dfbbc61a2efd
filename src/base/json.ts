/** Any value JSON can carry. */
export type Json = null | boolean | number | string | Json[] | JsonObject;
export type JsonObject = { [member: string]: Json };

/** True for a JSON object: not null, not an array, and not a number as it was written (`exact-json.ts`). */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isRaw(value);
}

// The stdio proxy runs on older Node.js as well, which reads no such numbers.
const isRaw = (JSON as { isRawJSON?: (value: unknown) => boolean }).isRawJSON ?? (() => false);
