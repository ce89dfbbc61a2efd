import { z } from 'zod';
import { isJsonObject } from '../base/json.ts';
import type { Json } from '../base/json.ts';
import type { ContentBlock } from './upstream.ts';

/**
 * The content of a tool result, if it is one that every official client accepts: a client throws at the first block
 * that its schema refuses, and its user would have paid for an answer nobody can read. `kind: 'bad'` says what is wrong,
 * in public words.
 */
export function readContent(
  content: Json,
): { kind: 'ok'; content: ContentBlock[] } | { kind: 'bad'; detail: string } {
  if (!Array.isArray(content) || !content.every(isBlockLike)) {
    return { kind: 'bad', detail: 'the content is not a list of content blocks' };
  }
  for (const [index, block] of content.entries()) {
    // By far the most common, and all there is to check of it.
    if (isPlainText(block)) continue;
    const fault = faultOfBlock(block);
    if (fault !== undefined)
      return { kind: 'bad', detail: `content block ${index + 1} is not valid: ${fault}` };
  }
  return { kind: 'ok', content };
}

/** What is wrong with the contents of a resource, if a client could not read them. */
export function faultOfContents(contents: Json | undefined): string | undefined {
  const issue = z.array(resource).safeParse(contents).error?.issues[0];
  return issue && `the contents of the resource are not valid: ${issue.path.join('.')}: ${issue.message}`;
}

function isBlockLike(block: Json): block is ContentBlock {
  return isJsonObject(block) && typeof block['type'] === 'string';
}

function isPlainText(block: ContentBlock): boolean {
  return (
    block.type === 'text' &&
    typeof block['text'] === 'string' &&
    block['annotations'] === undefined &&
    block['_meta'] === undefined
  );
}

function faultOfBlock(block: ContentBlock): string | undefined {
  if (!Object.hasOwn(BLOCKS, block.type)) return `its type is none of ${Object.keys(BLOCKS).join(', ')}`;
  const checked = BLOCKS[block.type as keyof typeof BLOCKS].safeParse(block);
  const issue = checked.error?.issues[0];
  return issue && `${issue.path.map(String).join('.')}: ${issue.message}`;
}

// What the official clients of all revisions check, as strictly as the strictest of them.
const meta = z.record(z.string(), z.unknown()).optional();
const base64 = z.string().refine(isBase64, 'it is not base64');
const annotations = z
  .object({
    audience: z.array(z.enum(['user', 'assistant'])).optional(),
    priority: z.number().min(0).max(1).optional(),
    lastModified: z.iso.datetime({ offset: true }).optional(),
  })
  .optional();
const icons = z
  .array(
    z.object({
      src: z.string(),
      mimeType: z.string().optional(),
      sizes: z.array(z.string()).optional(),
      theme: z.enum(['light', 'dark']).optional(),
    }),
  )
  .optional();
const text = z.string().optional();
const contents = { uri: z.string(), mimeType: text, _meta: meta };
const resource = z.union([
  z.object({ ...contents, text: z.string() }),
  z.object({ ...contents, blob: base64 }),
]);
const media = z.object({ data: base64, mimeType: z.string(), annotations, _meta: meta });

const BLOCKS = {
  text: z.object({ text: z.string(), annotations, _meta: meta }),
  image: media,
  audio: media,
  resource: z.object({
    resource,
    annotations,
    _meta: meta,
  }),
  resource_link: z.object({
    uri: z.string(),
    name: z.string(),
    title: text,
    description: text,
    mimeType: text,
    size: z.number().optional(),
    annotations,
    icons,
    _meta: meta,
  }),
};

/** By the rules of `atob`, which is what the clients ask. */
function isBase64(data: string): boolean {
  try {
    atob(data);
    return true;
  } catch {
    return false;
  }
}
