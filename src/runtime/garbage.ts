import { setFlagsFromString } from 'node:v8';

// Small buffers are cut out of a common one, which lives as long as the last of them. Node's 64 KiB hold what a dozen
// calls write, so nearly every one outlived its collections, and 18 MB a second of them had V8 mark the whole heap
// once a second ("external memory pressure"); with an eighth of that it does so half as often.
const POOL_BYTES = 8 * 1024;

/**
 * Keeps what a call is made of in the young generation. V8 counts which object literals survive their first
 * collections, and from then on makes those in the old generation at once ("allocation-site pretenuring"). What a
 * call in flight consists of survives often enough for that and is dead a moment later; but in the old generation it
 * keeps everything it points to alive until the next full collection, and every scavenge copies that (measured: 5 MB
 * promoted and 7 MB copied each time for 100 calls under way, with this 0.7 MB and 3 MB; an eighth of the gateway's CPU).
 */
export function letCallsDieYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
  Buffer.poolSize = POOL_BYTES;
}
