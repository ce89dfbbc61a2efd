import { sql } from 'drizzle-orm';
import { check, index, integer, json, pgTable, primaryKey, text, timestamp } from 'drizzle-orm/pg-core';
import { organizations } from '../identity/tables.ts';
import type { Manifest } from './agent.ts';

/** One agent in the marketplace: who sells it, which version is for sale, and whether it may be sold. */
export const agents = pgTable(
  'agents',
  {
    id: text().primaryKey(),
    /** The seller. Never changes. */
    organizationId: text()
      .notNull()
      .references(() => organizations.id),
    category: text().notNull(),
    displayName: text().notNull(),
    /** 0–100; null until somebody verified the agent. */
    trustScore: integer(),
    /** Only `verified` agents are for sale. */
    status: text({ enum: ['published', 'verified', 'suspended'] }).notNull(),
    /** The newest version, the one for sale. */
    currentVersion: text().notNull(),
    createdAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
    updatedAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [
    check('agents_id_is_well_formed', sql`${table.id} ~ '^agt_[a-z0-9]+(_[a-z0-9]+)*_v[1-9][0-9]*$'`),
    check('agents_trust_score_is_a_percentage', sql`${table.trustScore} between 0 and 100`),
    check('agents_status_is_known', sql`${table.status} in ('published', 'verified', 'suspended')`),
    check(
      'agents_are_verified_with_a_score',
      sql`${table.status} <> 'verified' or ${table.trustScore} is not null`,
    ),
    index('agents_by_organization').on(table.organizationId),
  ],
);

/** One manifest as it was published; never changed afterwards. */
export const agentVersions = pgTable(
  'agent_versions',
  {
    agentId: text()
      .notNull()
      .references(() => agents.id),
    version: text().notNull(),
    /** As text, and not `jsonb`, which sorts members: people and models read properties in the order they were written. */
    manifest: json().$type<Manifest>().notNull(),
    /** SHA-256 of the manifest's canonical JSON. */
    manifestHash: text().notNull(),
    publishedAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [
    primaryKey({ name: 'agent_versions_are_published_once', columns: [table.agentId, table.version] }),
    check('agent_versions_hash_is_sha256', sql`${table.manifestHash} ~ '^[0-9a-f]{64}$'`),
    check('agent_versions_manifest_is_an_object', sql`json_typeof(${table.manifest}) = 'object'`),
  ],
);
