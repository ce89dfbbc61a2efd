import { sql } from 'drizzle-orm';
import type { Grouping } from '../ledger/usage.ts';
import { calls } from './tables.ts';

// What is not in the journal. The join keeps a call whose record is not written yet, in the group that has no name.
const join = sql`LEFT JOIN ${calls} c ON c.id = j.id`;

/** By the run or MCP connection, as the client named it. */
export const BY_SESSION: Grouping = { by: sql`c.session`, join };
/** By the person or agent the key called for, as the client named it. */
export const BY_CALLER: Grouping = { by: sql`c.acting_for`, join };
