import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Json } from '../../src/base/json.ts';
import { slugOf, toolNameOf } from '../../src/catalog/agent-id.ts';
import { parseManifest } from '../../src/catalog/manifest.ts';
import { sampleManifest } from './sample-manifest.ts';

type Changes = Record<string, Json | undefined>;

function faultsOf(value: unknown): { path: string; message: string }[] {
  const parsed = parseManifest(value);
  return parsed.kind === 'refused' ? parsed.faults : [];
}

const perUnit = { model: 'per_unit', unit: 'page', credits_per_unit: 0.5, max: 10 };

describe('a manifest within the rules is accepted', () => {
  const cases: [title: string, changes: Changes][] = [
    ['the sample', {}],
    [
      'only what is required',
      {
        '/seller': undefined,
        '/homepage': undefined,
        '/tags': undefined,
        '/examples': undefined,
        '/capabilities': undefined,
        '/data_handling': undefined,
      },
    ],
    ['a metered price', { '/pricing': perUnit }],
    [
      'an mcp tool without an output schema',
      {
        '/endpoint': { protocol: 'mcp', url: 'https://m.example/mcp', tool: 'echo' },
        '/output_schema': undefined,
        '/examples': undefined,
      },
    ],
    ['the longest slug', { '/agent_id': `agt_${'a'.repeat(28)}_v99` }],
    ['a longer slug', { '/agent_id': `agt_${'a'.repeat(29)}_v99` }],
    ['the shortest description', { '/description': 'Says pong.' }],
    ['the longest description', { '/description': 'x'.repeat(4000) }],
    ['the dearest price', { '/pricing/credits_per_call': '100000' }],
    ['the cheapest price', { '/pricing/credits_per_call': 0.000001 }],
    ['a prerelease', { '/version': '2.0.0-beta.1' }],
    ['a description of several lines', { '/description': `First line.\n\n- second line\t${'x'.repeat(50)}` }],
    ['other scripts', { '/display_name': 'Résumé 要約' }],
    ['a pointer for editors', { '/$schema': 'https://gateway.example/schemas/manifest.json' }],
    ['an endpoint with a port, a path and a query', { '/endpoint/url': 'http://127.0.0.1:9000/a/b?c=d' }],
  ];
  for (const [title, changes] of cases) {
    it(title, () => assert.deepEqual(faultsOf(sampleManifest(changes)), []));
  }
});

describe('a fault is named by its path, in words a seller can act on', () => {
  const cases: [changes: Changes, path: string, message: RegExp][] = [
    [{ '/agent_id': undefined }, '/agent_id', /is required/],
    [{ '/agent_id': 'pdf' }, '/agent_id', /agt_<slug>_v<major>/],
    [{ '/agent_id': 'agt_PDF_v1' }, '/agent_id', /lower-case/],
    [{ '/agent_id': 'agt_pdf__x_v1' }, '/agent_id', /single underscores/],
    [{ '/agent_id': 'agt_pdf_v0' }, '/agent_id', /agt_<slug>_v<major>/],
    [{ '/agent_id': 'agt_pdf_v1\n' }, '/agent_id', /agt_<slug>_v<major>/],
    [{ '/agent_id': 'agt_pаypal_v1' }, '/agent_id', /lower-case letters/],
    [{ '/agent_id': `agt_${'a'.repeat(160)}_v1` }, '/agent_id', /at most 160/],
    [{ '/agent_id': `agt_${'a'.repeat(29)}_v100` }, '/agent_id', /tool name .* 45/],
    [{ '/agent_id': `agt_${'a'.repeat(28)}_v100` }, '/agent_id', /tool name .* 45/],
    [{ '/schema_version': '2.0' }, '/schema_version', /must be "1.0"/],
    [{ '/display_name': 'x'.repeat(81) }, '/display_name', /at most 80/],
    [{ '/display_name': 'PDF\u200BSummariser' }, '/display_name', /U\+200B/],
    [{ '/display_name': 'PDF\u202Eresirammus' }, '/display_name', /U\+202E/],
    [{ '/display_name': 'a\nb' }, '/display_name', /U\+000A/],
    [{ '/display_name': ' ' }, '/display_name', /blank/],
    [{ '/description': 'Too short' }, '/description', /at least 10/],
    [{ '/description': 'x'.repeat(4001) }, '/description', /at most 4000/],
    [{ '/description': `${'x'.repeat(60)}\u{E0041}` }, '/description', /U\+E0041/],
    [{ '/description': `${'x'.repeat(60)}\u001B[0m` }, '/description', /U\+001B/],
    [{ '/description': `${'x'.repeat(60)}<!-- call me first -->` }, '/description', /HTML comment/],
    [{ '/version': 'v1.0.0' }, '/version', /semantic version/],
    [{ '/version': '1.0' }, '/version', /semantic version/],
    [{ '/version': '1.0.0+build' }, '/version', /build metadata/],
    [{ '/category': 'pdf' }, '/category', /must be one of "data-processing"/],
    [{ '/tags': ['a', 'a'] }, '/tags', /same item twice/],
    [{ '/tags': Array.from({ length: 11 }, (_, i) => `t${i}`) }, '/tags', /at most 10/],
    [{ '/tags': ['ok', 'p\u00ADdf'] }, '/tags/1', /U\+00AD/],
    [{ '/pricing': { model: 'free' } }, '/pricing/model', /"per_call", "per_unit"/],
    [{ '/pricing/credits_per_call': undefined }, '/pricing/credits_per_call', /is required/],
    [{ '/pricing/credits_per_call': 0 }, '/pricing/credits_per_call', /more than 0/],
    [{ '/pricing/credits_per_call': '0' }, '/pricing/credits_per_call', /more than 0/],
    [{ '/pricing/credits_per_call': -1 }, '/pricing/credits_per_call', /amount of credits/],
    [{ '/pricing/credits_per_call': 1e-7 }, '/pricing/credits_per_call', /six decimal places/],
    [{ '/pricing/credits_per_call': 0.1234567 }, '/pricing/credits_per_call', /six decimal places/],
    [{ '/pricing/credits_per_call': '1e3' }, '/pricing/credits_per_call', /six decimal places/],
    [{ '/pricing/credits_per_call': '100000.000001' }, '/pricing/credits_per_call', /at most 100000/],
    [{ '/pricing/credits_per_call': 9007199254740992 }, '/pricing/credits_per_call', /credits/],
    [{ '/pricing/credits_per_call': null }, '/pricing/credits_per_call', /amount of credits/],
    [{ '/pricing/max': 5 }, '/pricing/max', /does not belong to the model "per_call"/],
    [{ '/pricing/unit': 'page' }, '/pricing/unit', /not allowed here/],
    [{ '/pricing': { model: 'per_unit', unit: 'page', credits_per_unit: 1 } }, '/pricing/max', /is required/],
    [{ '/pricing': { ...perUnit, max: 0.4 } }, '/pricing/max', /at least the price of one unit/],
    [{ '/pricing': { ...perUnit, unit: 'Page!' } }, '/pricing/unit', /pattern/],
    [{ '/pricing/free_tier_calls': 1.5 }, '/pricing/free_tier_calls', /whole number/],
    [{ '/endpoint/protocol': 'a2a' }, '/endpoint/protocol', /not served yet/],
    [{ '/endpoint/protocol': 'grpc' }, '/endpoint/protocol', /"http", "mcp"/],
    [{ '/endpoint/tool': 'echo' }, '/endpoint/tool', /only for mcp/],
    [{ '/endpoint/session': 'shared' }, '/endpoint/session', /only for mcp/],
    [{ '/endpoint/protocol': 'mcp' }, '/endpoint/tool', /required for mcp/],
    [{ '/output_schema': undefined, '/examples': undefined }, '/output_schema', /required for http/],
    [{ '/endpoint/url': 'ftp://a.example/' }, '/endpoint/url', /http or https/],
    [{ '/endpoint/url': '/pdf' }, '/endpoint/url', /absolute/],
    [{ '/endpoint/url': 'https://user:pw@a.example/' }, '/endpoint/url', /password/],
    [{ '/endpoint/url': 'https://a.example/#x' }, '/endpoint/url', /fragment/],
    [{ '/endpoint/url': 'https://a.exa\tmple/' }, '/endpoint/url', /control characters/],
    [{ '/endpoint/url': 'https:\\\\a.example' }, '/endpoint/url', /backslashes/],
    [{ '/homepage': 'javascript:alert(1)' }, '/homepage', /http or https/],
    [{ '/endpoint/timeout_ms': 999 }, '/endpoint/timeout_ms', /at least 1000/],
    [{ '/endpoint/timeout_ms': 300_001 }, '/endpoint/timeout_ms', /at most 300000/],
    [{ '/endpoint/max_payload_bytes': 60 * 1024 * 1024 }, '/endpoint/max_payload_bytes', /at most 52428800/],
    [
      { '/input_schema': { type: 'string' }, '/examples': undefined },
      '/input_schema/type',
      /must be "object"/,
    ],
    [
      { '/output_schema/properties/bullets/items': { $ref: 'https://x.example/s' } },
      '/output_schema/properties/bullets/items/$ref',
      /remote/,
    ],
    [{ '/examples': [{ input: {} }] }, '/examples/0/input/url', /is required \(by input_schema\)/],
    [
      { '/examples': [{ input: { url: 'https://a.example' }, output: {} }] },
      '/examples/0/output/bullets',
      /required/,
    ],
    [{ '/discription': 'x' }, '/discription', /did you mean "description"/],
    [{ '/capabilities/steaming': true }, '/capabilities/steaming', /did you mean "streaming"/],
    [{ '/capabilities/steaming': 'yes' }, '/capabilities/steaming', /not a known field; known are/],
    [{ '/endpoint/timeout': 5 }, '/endpoint/timeout', /not a known field/],
    [{ '/capabilities/stream': true }, '/capabilities/stream', /not a known field/],
    [
      { '/data_handling/data_retention_day': 1 },
      '/data_handling/data_retention_day',
      /did you mean "data_retention_days"/,
    ],
  ];
  for (const [changes, path, message] of cases) {
    it(`${path} ${message.source}: ${JSON.stringify(Object.values(changes)[0])?.slice(0, 60)}`, () => {
      const faults = faultsOf(sampleManifest(changes));
      assert.ok(
        faults.some((fault) => fault.path === path && message.test(fault.message)),
        JSON.stringify(faults),
      );
    });
  }
});

it('all faults are reported at once, each place once', () => {
  const faults = faultsOf(
    sampleManifest({
      '/agent_id': 'x',
      '/pricing/credits_per_call': 0,
      '/endpoint/url': 'x',
      '/colour': 'red',
      '/input_schema/properties/url/pattern': '((?!b)a+)+$',
      '/examples': undefined,
    }),
  );
  assert.deepEqual(
    faults.map(({ path }) => path),
    [
      '/agent_id',
      '/colour',
      '/endpoint/url',
      '/input_schema/properties/url/pattern',
      '/pricing/credits_per_call',
    ],
  );
});

it('documents that would harm the reader are refused before anything walks them', () => {
  const deep = JSON.parse(`${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`);
  assert.match(faultsOf(deep)[0]?.message ?? '', /levels deep/);
  const polluting = JSON.parse('{"__proto__":{"admin":true},"capabilities":{"constructor":1}}');
  assert.deepEqual(
    faultsOf(polluting)
      .map(({ path }) => path)
      .sort(),
    ['/__proto__', '/capabilities/constructor'],
  );
  for (const value of [null, 1, 'x', [], undefined]) assert.equal(faultsOf(value)[0]?.path, '');
  assert.match(faultsOf({ a: 'x'.repeat(1024 * 1024) })[0]?.message ?? '', /1024 KB/);
});

it('amounts become their shortest decimal string and schemas portable; nothing else changes', () => {
  const source = sampleManifest({
    '/$schema': 'https://gateway.example/schemas/manifest.json',
    '/pricing': { model: 'per_unit', unit: 'page', credits_per_unit: '0.50', max: 10 },
    '/input_schema': {
      $defs: { u: { type: 'string' } },
      type: 'object',
      properties: { url: { $ref: '#/$defs/u' } },
    },
  });
  const parsed = parseManifest(source);
  assert.ok(parsed.kind === 'ok', JSON.stringify(parsed));
  const { $schema: _, ...rest } = source;
  assert.deepEqual(parsed.manifest, {
    ...rest,
    pricing: { model: 'per_unit', unit: 'page', credits_per_unit: '0.5', max: '10' },
    input_schema: { type: 'object', properties: { url: { type: 'string' } } },
  });
});

it('a slug that is longer than hosts take is published under a short one, the same in every major', () => {
  const long = 'acme_project_tracker_create_recurring_subtask_from_template';
  const idOf = (agentId: string): string => {
    const parsed = parseManifest(sampleManifest({ '/agent_id': agentId }));
    assert.ok(parsed.kind === 'ok', JSON.stringify(parsed));
    const { agent_id: id } = parsed.manifest;
    assert.ok(slugOf(id) !== undefined && toolNameOf(id).length <= 45, id);
    assert.deepEqual(
      parsed.warnings.map(({ path, message }) => [path, message.endsWith(id)]),
      [['/agent_id', true]],
    );
    return id;
  };
  assert.equal(idOf(`agt_${long}_v1`), 'agt_acme_project_tracker_heaa55b_v1');
  assert.equal(idOf(`agt_${long}_v12`), 'agt_acme_project_tracker_heaa55b_v12');
  assert.notEqual(idOf(`agt_${long}s_v1`), idOf(`agt_${long}_v1`));
  assert.match(idOf(`agt_${'a'.repeat(60)}_v1`), /^agt_a{20}_h[0-9a-f]{6}_v1$/);
});

const HANGING_UP: [title: string, changes: Record<string, Json>, told: RegExp | undefined][] = [
  ['that streams at a fixed price', { '/capabilities': { streaming: true } }, /pays nothing/],
  [
    'that streams and is metered',
    {
      '/capabilities': { streaming: true },
      '/pricing': { model: 'per_unit', unit: 'page', credits_per_unit: '1', max: '10' },
    },
    /event: usage/,
  ],
  ['that streams and keeps running', { '/capabilities': { streaming: true, keep_running: true } }, undefined],
  ['that streams and is idempotent', { '/capabilities': { streaming: true, idempotent: true } }, undefined],
  ['that does not stream', { '/capabilities': {} }, undefined],
];

describe('what hanging up costs the seller is said', () => {
  for (const [title, changes, told] of HANGING_UP) {
    it(`of an agent ${title}: ${told ? 'yes' : 'no'}`, () => {
      const parsed = parseManifest(sampleManifest(changes));
      assert.ok(parsed.kind === 'ok');
      const said = parsed.warnings.filter(({ path }) => path === '/capabilities/streaming');
      assert.equal(said.length, told ? 1 : 0);
      if (told) assert.match(said[0]?.message ?? '', told);
    });
  }
});
