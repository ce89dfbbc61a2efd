import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Problem } from '../../src/base/problem.ts';
import type { Receipt, SignedReceipt } from '../../src/audit/receipts.ts';
import type { CallResult } from '../../src/calls/call.ts';
import { formatCallResult, formatToolResult } from '../../src/mcp/tool-result.ts';

const RECEIPT: Receipt = {
  call_id: 'call_1',
  agent_id: 'agt_a_v1',
  agent_version: '1.0.0',
  organization_id: 'org_1',
  key_id: 'key_1',
  currency: 'live',
  outcome: 'settled',
  held: '5',
  charged: '5',
  fee: '0.15',
  started_at: '2026-01-01T00:00:00.000Z',
  ended_at: '2026-01-01T00:00:01.000Z',
  input_hash: '11',
  output_hash: '22',
  manifest_hash: '33',
  prev: '00',
  seq: 1,
  v: 1,
  jws: 'a.b.c',
};

const SIGNED = signed(RECEIPT);

function signed(receipt: Receipt): SignedReceipt {
  return { callId: receipt.call_id, json: JSON.stringify(receipt) };
}

const IMAGE = { type: 'image', data: 'aGk=', mimeType: 'image/png', annotations: { priority: 1 } };
const TEXT = { type: 'text', text: 'a "quoted" line\n\u2028' };

function format(result: CallResult, modernMeta?: string): unknown {
  return JSON.parse(
    formatToolResult(formatCallResult(result, modernMeta ? '2026-07-28' : '2025-11-25'), modernMeta),
  );
}

test('an object is answered as JSON text and as structured content', () => {
  assert.deepEqual(
    format({ kind: 'answer', answer: { output: { a: 1 } }, receipt: SIGNED, isReplay: false }),
    {
      content: [{ type: 'text', text: '{"a":1}' }],
      structuredContent: { a: 1 },
      _meta: { 'xyz.sentinel/receipt': RECEIPT },
    },
  );
});

test('an output that is no object has no structured content', () => {
  for (const output of ['text', 5, null, [1, 2], true]) {
    assert.deepEqual(format({ kind: 'answer', answer: { output }, receipt: SIGNED, isReplay: false }), {
      content: [{ type: 'text', text: JSON.stringify(output) }],
      _meta: { 'xyz.sentinel/receipt': RECEIPT },
    });
  }
});

test('the content blocks of an MCP tool pass through unchanged, with the structured content it gave', () => {
  const content = [TEXT, IMAGE];
  const structured = {
    kind: 'answer',
    answer: { output: { a: 1 }, content },
    receipt: SIGNED,
    isReplay: true,
  } as const;
  assert.deepEqual(format(structured), {
    content,
    structuredContent: { a: 1 },
    _meta: { 'xyz.sentinel/receipt': RECEIPT, 'xyz.sentinel/replay': true },
  });
});

test('blocks without structured content are not sent twice', () => {
  const content = [TEXT, IMAGE];
  const result = {
    kind: 'answer',
    answer: { output: { content }, content, isUnstructured: true },
    receipt: SIGNED,
    isReplay: false,
  } as const;
  assert.deepEqual(format(result), { content, _meta: { 'xyz.sentinel/receipt': RECEIPT } });
});

test('structured content that is no object is itself since 2026-07-28, and wrapped as an object before', () => {
  const answer = { output: [1, null], content: [TEXT] };
  const result = { kind: 'answer', answer, receipt: SIGNED, isReplay: false } as const;
  const structured = (meta?: string) =>
    (format(result, meta) as Record<string, unknown>)['structuredContent'];
  assert.deepEqual(structured('"x":1'), [1, null]);
  assert.deepEqual(structured(), { result: [1, null] });
});

test('a problem comes first, then what the agent said, and nothing was charged', () => {
  const problem = new Problem('AGENT_ERROR', 'It said "no".', { hint: 'Ask differently.' });
  const refunded = { ...RECEIPT, outcome: 'refunded', charged: '0', fee: '0' } as const;
  const error = {
    code: 'AGENT_ERROR',
    message: 'It said "no".',
    retryable: true,
    charged: '0',
    call_id: 'call_1',
    hint: 'Ask differently.',
  };
  assert.deepEqual(
    format({ kind: 'problem', problem, content: [IMAGE], receipt: signed(refunded) }, '"x":1'),
    {
      content: [{ type: 'text', text: JSON.stringify(error) }, IMAGE],
      isError: true,
      _meta: { 'xyz.sentinel/error': error, 'xyz.sentinel/receipt': refunded, x: 1 },
      resultType: 'complete',
    },
  );
});
