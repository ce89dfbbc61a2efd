import { isJsonObject } from '../base/json.ts';
import type { ContentBlock } from '../upstream/upstream.ts';
import type { Revision } from './revision.ts';

/**
 * The blocks as a client of that revision can read them. One that does not know a type throws at the whole result,
 * so what came later travels as something it knows: a link as text with its address, sound as a resource that holds it.
 */
export function blocksFor(revision: Revision, content: ContentBlock[]): ContentBlock[] {
  if (revision >= KNOWS_LINKS) return content;
  const knowsAudio = revision >= KNOWS_AUDIO;
  return content.map((block) => {
    if (block.type === 'resource_link') return textOfLink(block);
    return block.type === 'audio' && !knowsAudio ? resourceOfAudio(block) : block;
  });
}

const KNOWS_AUDIO = '2025-03-26';
const KNOWS_LINKS = '2025-06-18';

function textOfLink(link: ContentBlock): ContentBlock {
  const { uri, name, title, description, mimeType } = link;
  const words = [title ?? name, description, mimeType, uri].filter((word) => typeof word === 'string');
  const text = words.filter((word) => word !== '').join('\n');
  return { type: 'text', text, ...aboutBlock(link) };
}

function resourceOfAudio(audio: ContentBlock): ContentBlock {
  const { data, mimeType } = audio;
  return {
    type: 'resource',
    resource: { uri: 'xyz.sentinel:audio', mimeType: mimeType ?? '', blob: data ?? '' },
    ...aboutBlock(audio),
  };
}

function aboutBlock({ annotations, _meta: meta }: ContentBlock): Partial<ContentBlock> {
  return {
    ...(isJsonObject(annotations) ? { annotations } : {}),
    ...(isJsonObject(meta) ? { _meta: meta } : {}),
  };
}
