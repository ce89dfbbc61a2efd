import { hash } from 'node:crypto';

const AGENT_ID = /^agt_([a-z0-9]+(?:_[a-z0-9]+)*)_v([1-9][0-9]*)$/;
export const MAX_SLUG = 28;
export const MAX_TOOL_NAME = 45;

/** The tool an agent is on MCP. */
export function toolNameOf(agentId: string): string {
  return `sentinel_${agentId}`;
}

/** `agt_pdf_summariser_v2` → `pdf_summariser`; undefined when it is no agent id. */
export function slugOf(agentId: string): string | undefined {
  const slug = AGENT_ID.exec(agentId)?.[1];
  return slug !== undefined && slug.length <= MAX_SLUG && toolNameOf(agentId).length <= MAX_TOOL_NAME
    ? slug
    : undefined;
}

/** Whether it is an agent id but for its length. */
export function isAgentIdForm(text: string): boolean {
  return AGENT_ID.test(text);
}

/**
 * The id an agent is published under: as it was written, or, where the slug is longer than hosts take, its first words
 * and a mark made of the whole. The same slug has the same short form in every major, for ever.
 */
export function shortenAgentId(agentId: string): string {
  const [, slug = '', major = ''] = AGENT_ID.exec(agentId) ?? [];
  if (slug.length <= MAX_SLUG) return agentId;
  const mark = `h${hash('sha256', slug, 'hex').slice(0, MARK_DIGITS)}`;
  const room = MAX_SLUG - mark.length - 1;
  // Up to the last word that fits whole, or a part of the first where none does.
  const start = slug.slice(0, room + 1);
  const words = start.includes('_') ? start.slice(0, start.lastIndexOf('_')) : start.slice(0, room);
  return `agt_${words}_${mark}_v${major}`;
}

const MARK_DIGITS = 6;

/** The first words of a slug that was shortened: all that a person reads of it. */
export function wordsOfShortSlug(slug: string): string | undefined {
  return /^(.+)_h[0-9a-f]{6}$/.exec(slug)?.[1];
}
