import { isJsonObject, type Json, type JsonObject } from '../base/json.ts';

/**
 * What a local `$ref` points to: a JSON Pointer in a URI fragment (RFC 6901 section 6). Undefined when it
 * points to nothing, to something that is no schema, or is not a pointer (an anchor). `pointer` has one
 * spelling per place.
 */
export function resolvePointer(
  root: JsonObject,
  reference: string,
): { schema: JsonObject | boolean; pointer: string } | undefined {
  let pointer: string;
  try {
    pointer = decodeURIComponent(reference.slice(1));
  } catch {
    return undefined;
  }
  if (pointer !== '' && !pointer.startsWith('/')) return undefined;
  let at: Json | undefined = root;
  for (const token of pointer.split('/').slice(1)) {
    at = member(at, token.replaceAll('~1', '/').replaceAll('~0', '~'));
    if (at === undefined) return undefined;
  }
  return isJsonObject(at) || typeof at === 'boolean' ? { schema: at, pointer } : undefined;
}

function member(value: Json, name: string): Json | undefined {
  if (Array.isArray(value)) return /^(0|[1-9][0-9]*)$/.test(name) ? value[Number(name)] : undefined;
  return isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}
