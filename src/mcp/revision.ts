/** A revision of the protocol, as a client names it. Revisions are dates, so their order is that of their names. */
export type Revision = string;

export const MODERN_VERSION = '2026-07-28';

export const LEGACY_VERSIONS: ReadonlySet<string> = new Set([
  '2024-10-07',
  '2024-11-05',
  '2025-03-26',
  '2025-06-18',
  '2025-11-25',
]);

/** Streamable HTTP came with this revision; the header that names one came with the next. */
export const BEFORE_THE_HEADER = '2025-03-26';

/** The revision of the HTTP+SSE transport. */
export const OF_THE_OLD_TRANSPORT = '2024-11-05';

/** The revision a client of the older era speaks, which names it in a header if it is new enough to. */
export function legacyRevision(header: string | undefined, otherwise: Revision): Revision {
  return header !== undefined && LEGACY_VERSIONS.has(header) ? header : otherwise;
}

export function isModern(revision: Revision): boolean {
  return revision >= MODERN_VERSION;
}
