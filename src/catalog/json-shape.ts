import type { Fault } from '../base/problem.ts';

/** How large and how deep a document may be before anything recursive looks at it. */
export type JsonLimits = { maxDepth: number; maxBytes: number };

// Writing to one of these names reaches an object's prototype in careless code, ours or the buyer's.
export const DANGEROUS_NAMES: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

const MAX_FAULTS = 20;

type Place = { parent: Place | undefined; member: string };
type Visit = { value: unknown; depth: number; place: Place | undefined };

/**
 * What makes a value unfit to be stored or walked, whatever it means: too deep, too large, not JSON, a
 * name that pollutes prototypes, text that PostgreSQL's `jsonb` refuses (NUL, lone surrogates). Iterative,
 * so that a document nested 50,000 deep is refused instead of overflowing the stack.
 */
export function findUnsafeJson(root: unknown, where: string, limits: JsonLimits): Fault[] {
  const faults: Fault[] = [];
  let bytes = 0;
  const visits: Visit[] = [{ value: root, depth: 0, place: undefined }];
  for (let visit = visits.pop(); visit !== undefined; visit = visits.pop()) {
    const { value, depth, place } = visit;
    const report = (message: string): number => faults.push({ path: where + pointerOf(place), message });
    if (faults.length >= MAX_FAULTS) break;
    if (depth > limits.maxDepth) {
      report(`is nested more than ${limits.maxDepth} levels deep`);
    } else if (typeof value === 'string') {
      bytes += Buffer.byteLength(value) + 3;
      if (!isStorable(value)) report('contains a NUL character or half a surrogate pair');
    } else if (typeof value === 'number') {
      bytes += 8;
      if (!Number.isFinite(value)) report('is not a finite number');
    } else if (typeof value === 'boolean' || value === null) {
      bytes += 5;
    } else if (Array.isArray(value)) {
      bytes += 2;
      for (let index = value.length - 1; index >= 0; index--) {
        visits.push({
          value: value[index],
          depth: depth + 1,
          place: { parent: place, member: String(index) },
        });
      }
    } else if (typeof value === 'object') {
      bytes += 2;
      for (const [member, inner] of Object.entries(value).reverse()) {
        const here = { parent: place, member };
        bytes += Buffer.byteLength(member) + 4;
        if (DANGEROUS_NAMES.has(member)) {
          faults.push({
            path: where + pointerOf(here),
            message: `the name "${member}" is not accepted anywhere`,
          });
        } else if (!isStorable(member)) {
          faults.push({
            path: where + pointerOf(place),
            message: 'has a member name with NUL or half a surrogate pair',
          });
        } else {
          visits.push({ value: inner, depth: depth + 1, place: here });
        }
      }
    } else {
      report('is not a JSON value');
    }
    if (bytes > limits.maxBytes) {
      faults.push({ path: where, message: `is larger than ${Math.floor(limits.maxBytes / 1024)} KB` });
      break;
    }
  }
  return faults;
}

/** One reference token of a JSON Pointer (RFC 6901 section 3). */
export function pointerToken(member: string): string {
  return member.replaceAll('~', '~0').replaceAll('/', '~1');
}

function pointerOf(place: Place | undefined): string {
  const members: string[] = [];
  for (let at = place; at !== undefined; at = at.parent) members.push(pointerToken(at.member));
  return members
    .reverse()
    .map((member) => `/${member}`)
    .join('');
}

function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0');
}
