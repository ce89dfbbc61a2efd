import { createHash } from 'node:crypto';
import { invariant } from './invariant.ts';

/*
 * The Merkle tree of RFC 9162 section 2.1: one hash stands for a whole list, and a few more show that one
 * entry is in it without showing any other. Leaves and nodes are hashed with different first bytes, so that
 * neither can be taken for the other.
 */

export const HASH_BYTES = 32;
const LEAF = Buffer.of(0);
const NODE = Buffer.of(1);

export function hashLeaf(entry: string): Buffer {
  return createHash('sha256').update(LEAF).update(entry).digest();
}

/** Every node, level by level: the leaves first, the root last. Of no leaves: only a root. */
export function buildTree(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 0) return createHash('sha256').digest();
  const nodes: Buffer[] = [];
  let level = [...leaves];
  for (; level.length > 1; level = parentsOf(level)) nodes.push(...level);
  return Buffer.concat([...nodes, ...level]);
}

export function rootOf(tree: Buffer): Buffer {
  return tree.subarray(-HASH_BYTES);
}

/** Where in the tree the hashes stand that lead from one leaf to the root, the lowest first. */
export function siblingsOf(size: number, leaf: number): number[] {
  invariant(leaf >= 0 && leaf < size, 'a path begins at a leaf');
  const siblings: number[] = [];
  let [start, width, at] = [0, size, leaf];
  while (width > 1) {
    // The last of an odd number has no sibling and moves up as it is.
    if ((at ^ 1) < width) siblings.push(start + (at ^ 1));
    [start, width, at] = [start + width, (width + 1) >> 1, at >> 1];
  }
  return siblings;
}

/** Where the path leads; undefined when it has not the length it must have from that leaf. */
export function followPath(
  entry: string,
  leaf: number,
  size: number,
  path: readonly Buffer[],
): Buffer | undefined {
  if (leaf < 0 || leaf >= size) return undefined;
  let hash = hashLeaf(entry);
  let step = 0;
  for (let [width, at] = [size, leaf]; width > 1; [width, at] = [(width + 1) >> 1, at >> 1]) {
    if ((at ^ 1) >= width) continue;
    const sibling = path[step++];
    if (sibling === undefined) return undefined;
    hash = at % 2 === 1 ? hashNode(sibling, hash) : hashNode(hash, sibling);
  }
  return step === path.length ? hash : undefined;
}

function parentsOf(level: readonly Buffer[]): Buffer[] {
  const parents: Buffer[] = [];
  for (let at = 0; at < level.length; at += 2) {
    const [left, right] = [level[at], level[at + 1]];
    invariant(left, 'a level has no holes');
    parents.push(right ? hashNode(left, right) : left);
  }
  return parents;
}

function hashNode(left: Buffer, right: Buffer): Buffer {
  return createHash('sha256').update(NODE).update(left).update(right).digest();
}
