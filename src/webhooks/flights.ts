/** How many requests a process has under way: together, for one organization and to one endpoint. */
export type FlightLimits = { total: number; perOrganization: number; perEndpoint: number };

const LIMITS: FlightLimits = { total: 256, perOrganization: 64, perEndpoint: 16 };

/** Where a request goes, and whose it is. */
export type Destination = { endpointId: string; organizationId: string };

/**
 * The deliveries this process is sending. Each endpoint has its own share, so that one that is slow holds up
 * nobody else; one whose last delivery failed gets a share of one until it is well again, so that even
 * hundreds of dead receivers leave room for the living. An organization has a share as well, however many
 * endpoints it made.
 */
export type Flights = {
  /** Endpoints that have less room than `defaultRoom`, and how much. */
  rooms(): Map<string, number>;
  defaultRoom: number;
  /** Organizations that have less room than `defaultOrganizationRoom`, and how much. */
  organizationRooms(): Map<string, number>;
  defaultOrganizationRoom: number;
  /** For all endpoints together. */
  room(): number;
  /** Counts until `flight` has ended, well or not. It must not reject. */
  add(destination: Destination, flight: Promise<'delivered' | 'failed'>): void;
  isIdle(): boolean;
  /** Resolves when the next one has ended; at once when none is under way. */
  landed(): Promise<void>;
  /** Resolves when none is under way. */
  drain(): Promise<void>;
};

export function createFlights(limits: FlightLimits = LIMITS): Flights {
  const underWay = new Map<string, number>();
  const ofOrganization = new Map<string, number>();
  const failing = new Set<string>();
  let total = 0;
  let landing = Promise.withResolvers<void>();

  function land({ endpointId, organizationId }: Destination, end: 'delivered' | 'failed'): void {
    count(underWay, endpointId, -1);
    count(ofOrganization, organizationId, -1);
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
    defaultOrganizationRoom: limits.perOrganization,
    organizationRooms: () =>
      new Map([...ofOrganization].map(([id, open]) => [id, Math.max(0, limits.perOrganization - open)])),
    room: () => limits.total - total,
    add: (destination, flight) => {
      count(underWay, destination.endpointId, 1);
      count(ofOrganization, destination.organizationId, 1);
      total += 1;
      void flight.then((end) => land(destination, end));
    },
    isIdle: () => total === 0,
    landed,
    drain,
  };
}

function count(counts: Map<string, number>, id: string, change: 1 | -1): void {
  const now = (counts.get(id) ?? 0) + change;
  if (now > 0) counts.set(id, now);
  else counts.delete(id);
}
