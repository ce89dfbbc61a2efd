import { editDistance } from './edit-distance.ts';
import { MAX_SLUG, slugOf, wordsOfShortSlug } from './agent-id.ts';

/**
 * Why an agent id may not stand beside another seller's, or undefined. A buyer who reads one id must not call
 * the other. Majors do not count: `agt_x_v3` belongs to whoever sells `agt_x_v2`.
 */
export function findLookalike(agentId: string, otherId: string): string | undefined {
  const slug = slugOf(agentId) ?? agentId;
  const other = slugOf(otherId) ?? otherId;
  if (slug === other) return 'it is another major of an agent another seller owns';
  if (editDistance(slug, other, 1) <= 1) return "it differs from another seller's agent id by one character";
  if (skeleton(slug) === skeleton(other))
    return "it looks like another seller's agent id (look-alike letters or underscores)";
  if (sortedWords(slug) === sortedWords(other))
    return "it has the same words as another seller's agent id in another order";
  const words = wordsOfShortSlug(slug);
  const otherWords = wordsOfShortSlug(other);
  if (words !== undefined && otherWords !== undefined && skeleton(words) === skeleton(otherWords))
    return `it is shortened to the same words as another seller's agent id; give it a slug of at most ${MAX_SLUG} characters`;
  return undefined;
}

/** The same for ids that read alike: underscores gone, letters and digits that look alike made one. */
function skeleton(slug: string): string {
  return slug
    .replaceAll('_', '')
    .replaceAll('rn', 'm')
    .replaceAll('vv', 'w')
    .replaceAll('cl', 'd')
    .replaceAll(/[0o]/g, 'o')
    .replaceAll(/[1il]/g, 'l')
    .replaceAll('5', 's')
    .replaceAll('2', 'z')
    .replaceAll('8', 'b');
}

function sortedWords(slug: string): string {
  return slug.split('_').sort().join('_');
}
