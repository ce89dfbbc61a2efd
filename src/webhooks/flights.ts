/** How many requests a process has under way, together and to one endpoint. */
export type FlightLimits = { total: number; perEndpoint: number };

const LIMITS: FlightLimits = { total: 256, perEndpoint: 16 };

/**
 * The deliveries this process is sending. Each endpoint has its own share, so that one that is slow holds up
 * nobody else; one whose last delivery failed gets a share of one until it is well again, so that even
 * hundreds of dead receivers leave room for the living.
 */
export type Flights = {
  /** Endpoints that have less room than `defaultRoom`, and how much. */
  rooms(): Map<string, number>;
  defaultRoom: number;
  /** For all endpoints together. */
  room(): number;
  /** Counts until `flight` has ended, well or not. It must not reject. */
  add(endpointId: string, flight: Promise<'delivered' | 'failed'>): void;
  isIdle(): boolean;
  /** Resolves when the next one has ended; at once when none is under way. */
  landed(): Promise<void>;
  /** Resolves when none is under way. */
  drain(): Promise<void>;
};

export function createFlights(limits: FlightLimits = LIMITS): Flights {
  const underWay = new Map<string, number>();
  const failing = new Set<string>();
  let total = 0;
  let landing = Promise.withResolvers<void>();

  function land(endpointId: string, end: 'delivered' | 'failed'): void {
    const left = (underWay.get(endpointId) ?? 0) - 1;
    if (left > 0) underWay.set(endpointId, left);
    else underWay.delete(endpointId);
    if (end === 'failed') failing.add(endpointId);
    else failing.delete(endpointId);
    total -= 1;
    landing.resolve();
    landing = Promise.withResolvers<void>();
  }

  const landed = (): Promise<void> => (total === 0 ? Promise.resolve() : landing.promise);

  async function drain(): Promise<void> {
    if (total === 0) return;
    await landed();
    await drain();
  }

  return {
    defaultRoom: limits.perEndpoint,
    rooms: () => {
      const rooms = new Map<string, number>();
      for (const endpointId of new Set([...underWay.keys(), ...failing])) {
        const share = failing.has(endpointId) ? 1 : limits.perEndpoint;
        rooms.set(endpointId, Math.max(0, share - (underWay.get(endpointId) ?? 0)));
      }
      return rooms;
    },
    room: () => limits.total - total,
    add: (endpointId, flight) => {
      underWay.set(endpointId, (underWay.get(endpointId) ?? 0) + 1);
      total += 1;
      void flight.then((end) => land(endpointId, end));
    },
    isIdle: () => total === 0,
    landed,
    drain,
  };
}
