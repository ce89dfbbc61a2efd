import type { JsonObject } from '../base/json.ts';
import { nearestName } from './edit-distance.ts';
import { PUBLISHED } from './schema-words.ts';

/**
 * The keyword an unknown one was most likely meant to be. Undefined where following the advice would not work: the
 * keyword is there already, or `isAccepted` refuses what is written under it.
 */
export function suggestKeyword(
  node: JsonObject,
  unknown: string,
  isAccepted: (schema: JsonObject) => boolean,
): string | undefined {
  if (unknown.startsWith('x-')) return undefined;
  const nearest = nearestName(unknown, [...PUBLISHED]);
  if (nearest === undefined || Object.hasOwn(node, nearest)) return undefined;
  return isAccepted({ [nearest]: node[unknown] ?? null }) ? nearest : undefined;
}
