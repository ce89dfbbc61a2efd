/**
 * Things that come and go by the thousand every second, in no order. Not a `Set`: V8 grows a set by leaving its
 * old table behind with a pointer to the new one. Once such a table has been promoted to the old generation, it
 * keeps everything the later ones held alive until the next full collection, and every scavenge copies it all
 * (measured: 21 MB each time for 100 calls under way, a sixth of the gateway's CPU). A `Map` does the same, so
 * what it holds for a short time must let go of its contents when it is taken out.
 */
export type Crowd<Member> = {
  /** Answers what takes the member out again; calling that twice does nothing more. */
  add(member: Member): () => void;
  size(): number;
  /** Those who are here now: who leaves while they are gone through is still in the list. */
  members(): Member[];
};

type Place<Member> = { member: Member | undefined; at: number };

export function createCrowd<Member>(): Crowd<Member> {
  const places: Place<Member>[] = [];
  return {
    add: (member) => {
      const place: Place<Member> = { member, at: places.length };
      places.push(place);
      return () => {
        if (place.at === -1) return;
        // The last one takes the place that is free now.
        const last = places.pop();
        if (last && last !== place) {
          last.at = place.at;
          places[place.at] = last;
        }
        place.at = -1;
        place.member = undefined;
      };
    },
    size: () => places.length,
    members: () => places.map(({ member }) => member as Member),
  };
}
