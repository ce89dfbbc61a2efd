import fc from 'fast-check';

const text = fc.oneof(fc.string(), fc.string({ unit: 'grapheme' }), fc.constantFrom('{"a":1}', '[1]', ''));
/** `_meta` as a server may fill it. */
export const anyMeta = fc.dictionary(
  fc.oneof(fc.string(), fc.constantFrom('example.com/trace', 'io.modelcontextprotocol/other')),
  fc.jsonValue({ maxDepth: 2 }),
  { maxKeys: 3, noNullPrototype: true },
);
const mimeType = fc.constantFrom('image/png', 'text/plain; charset=utf-8', '');
const data = fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes).toString('base64'));
const uri = fc.oneof(fc.webUrl(), fc.constantFrom('file:///a%20b', 'demo://x/1', 'urn:x', 'plain'));
const annotations = fc.record(
  {
    audience: fc.uniqueArray(fc.constantFrom('user', 'assistant')),
    priority: fc.double({ min: 0, max: 1, noNaN: true }),
    lastModified: fc
      .date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true })
      .map((date) => date.toISOString()),
  },
  { requiredKeys: [] },
);
const icons = fc.array(
  fc.record(
    {
      src: uri,
      mimeType,
      sizes: fc.array(fc.constantFrom('48x48', 'any')),
      theme: fc.constantFrom('light', 'dark'),
    },
    { requiredKeys: ['src'] },
  ),
  { maxLength: 2 },
);
const contents = { uri, mimeType, _meta: anyMeta };
/** Any valid content block of a tool result. */
export const anyBlock = fc.oneof(
  fc.record(
    { type: fc.constant('text'), text, annotations, _meta: anyMeta },
    { requiredKeys: ['type', 'text'] },
  ),
  fc.record(
    { type: fc.constantFrom('image', 'audio'), data, mimeType, annotations, _meta: anyMeta },
    { requiredKeys: ['type', 'data', 'mimeType'] },
  ),
  fc.record(
    {
      type: fc.constant('resource'),
      resource: fc.oneof(
        fc.record({ ...contents, text }, { requiredKeys: ['uri', 'text'] }),
        fc.record({ ...contents, blob: data }, { requiredKeys: ['uri', 'blob'] }),
      ),
      annotations,
      _meta: anyMeta,
    },
    { requiredKeys: ['type', 'resource'] },
  ),
  fc.record(
    {
      type: fc.constant('resource_link'),
      uri,
      name: text,
      title: text,
      description: text,
      mimeType,
      size: fc.nat(),
      annotations,
      icons,
      _meta: anyMeta,
    },
    { requiredKeys: ['type', 'uri', 'name'] },
  ),
);
