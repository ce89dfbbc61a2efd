import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { createSigner } from '../../src/identity/signer.ts';
import { createRequestSigner, verifyRequestSignature } from '../../src/upstream/signature.ts';
import type { Endpoint } from '../../src/upstream/upstream.ts';
import type { UpstreamOptions } from '../../src/upstream/node-upstream.ts';
import { httpAnswer, jsonAnswer, openUpstream, requestTo, startRawAgent } from './raw-agent.ts';
import type { RawRequest } from './raw-agent.ts';

type Said = { id?: number | string; method?: string; params?: { arguments?: { note?: string } } };

/**
 * A server that keeps a notebook in each session and answers every call with all that is in it. A call with the
 * note `wait` is answered when `release` is called.
 */
async function startNotebook(t: TestContext, options: { sessions: boolean } = { sessions: true }) {
  const notebooks = new Map<string, string[]>();
  const ended: { id: string; request: RawRequest }[] = [];
  let wake = () => {};
  let release = () => {};
  const waiting = Promise.withResolvers<void>();
  const agent = await startRawAgent(t, (request) => {
    const { head, body, socket } = request;
    const session = /mcp-session-id: (\S+)/.exec(head)?.[1] ?? '';
    if (head.startsWith('DELETE')) {
      notebooks.delete(session);
      ended.push({ id: session, request });
      socket.write(httpAnswer(204, {}, ''));
      return wake();
    }
    const { id, method, params } = JSON.parse(body) as Said;
    const reply = (result: unknown, headers = {}) =>
      socket.write(jsonAnswer({ jsonrpc: '2.0', id, result }, headers));
    if (method === 'initialize') {
      const opened = `s${notebooks.size + ended.length + 1}`;
      notebooks.set(options.sessions ? opened : '', []);
      return void reply(
        { protocolVersion: '2025-11-25' },
        { 'set-cookie': 'who=you', ...(options.sessions ? { 'mcp-session-id': opened } : {}) },
      );
    }
    if (method !== 'tools/call') return void socket.write(httpAnswer(202, {}, ''));
    const notebook = notebooks.get(session);
    if (!notebook) return void socket.write(httpAnswer(404, {}, ''));
    notebook.push(params?.arguments?.note ?? '');
    const answer = () => void reply({ content: [], structuredContent: { notes: [...notebook] } });
    if (params?.arguments?.note !== 'wait') return answer();
    release = answer;
    waiting.resolve();
  });
  return {
    ...agent,
    notebooks,
    ended,
    waiting: waiting.promise,
    release: () => release(),
    /** When that many sessions have been ended. */
    async endings(count: number): Promise<string[]> {
      while (ended.length < count) await new Promise<void>((resolve) => void (wake = resolve));
      return ended.map(({ id }) => id);
    },
  };
}

function openNotes(t: TestContext, url: string, options: Partial<UpstreamOptions> = {}) {
  const upstream = openUpstream(t, options);
  const endpoint: Endpoint = { protocol: 'mcp', url, tool: 'note' };
  return {
    upstream,
    async note(organizationId: string, note: string, more: Partial<Endpoint> = {}): Promise<unknown> {
      const outcome = await upstream.invoke(
        requestTo({ ...endpoint, ...more }, { organizationId, input: { note } }),
      );
      return outcome.kind === 'answer' ? outcome.output : outcome;
    },
  };
}

test('what a server keeps in a session it keeps for one organization and URL', async (t) => {
  const server = await startNotebook(t);
  const { note } = openNotes(t, server.url);
  const [first, second] = await Promise.all([note('org_1', 'my password'), note('org_2', 'hello')]);
  assert.deepEqual(first, { notes: ['my password'] });
  assert.deepEqual(second, { notes: ['hello'] });
  assert.deepEqual(await note('org_2', 'again'), { notes: ['hello', 'again'] });
  assert.deepEqual(await note('org_1', 'again'), { notes: ['my password', 'again'] });
  assert.deepEqual(await note('org_1', 'elsewhere', { url: `${server.url}?b` }), { notes: ['elsewhere'] });
  assert.equal(server.notebooks.size, 3);
});

test('a server that keeps nothing of its callers may share one session, apart from all others', async (t) => {
  const server = await startNotebook(t);
  const { note } = openNotes(t, server.url);
  await note('org_1', 'mine');
  await note('org_1', 'one', { session: 'shared' });
  assert.deepEqual(await note('org_2', 'two', { session: 'shared' }), { notes: ['one', 'two'] });
  assert.deepEqual(await note('org_1', 'more'), { notes: ['mine', 'more'] });
});

test('that a server has no sessions is known to all, and nothing else is', async (t) => {
  const server = await startNotebook(t, { sessions: false });
  const { note } = openNotes(t, server.url);
  await note('org_1', 'x');
  await note('org_2', 'y');
  const said = server.requests.map(({ body }) => (JSON.parse(body) as Said).method);
  assert.deepEqual(said, ['initialize', 'notifications/initialized', 'tools/call', 'tools/call']);
});

test('a cookie is kept for nobody', async (t) => {
  const server = await startNotebook(t);
  const { note } = openNotes(t, server.url);
  await note('org_1', 'x');
  await note('org_2', 'y');
  assert.ok(server.requests.every(({ head }) => !/^cookie:/im.test(head)));
});

test('an idle session is ended at its server, with a signed DELETE, and the next call opens another', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const server = await startNotebook(t);
  const { note } = openNotes(t, server.url, {
    signer: createRequestSigner({ keyId: 'k', sign: createSigner(privateKey) }),
    sessionLimits: { idleMs: 50, sweepEveryMs: 10 },
  });
  await note('org_1', 'x');
  assert.deepEqual(await server.endings(1), ['s1']);
  const { head } = server.ended[0]!.request;
  const lines = head.split('\r\n').slice(1);
  const headers = Object.fromEntries(lines.map((line) => line.split(': ') as [string, string]));
  const asked = { method: 'DELETE', url: server.url, headers, body: Buffer.alloc(0) };
  assert.equal(verifyRequestSignature(asked, { findKey: () => publicKey }).kind, 'valid');
  assert.equal(
    verifyRequestSignature({ ...asked, method: 'POST' }, { findKey: () => publicKey }).kind,
    'invalid',
  );
  assert.deepEqual(await note('org_1', 'y'), { notes: ['y'] });
});

test('a session that a call runs on is neither idle nor given up, however long the call takes', async (t) => {
  const server = await startNotebook(t);
  const { note } = openNotes(t, server.url, {
    sessionLimits: { idleMs: 0, sweepEveryMs: 1, mostOfOneOwner: 1 },
  });
  const slow = note('org_1', 'wait');
  await server.waiting;
  // It is idle at once, and the second of its owner pushes the first one out.
  await note('org_1', 'other', { url: `${server.url}?b` });
  assert.deepEqual(await server.endings(1), ['s2']);
  server.release();
  assert.deepEqual(await slow, { notes: ['wait'] });
  assert.deepEqual(await server.endings(2), ['s2', 's1']);
});

test('one organization with many servers pushes out its own sessions, all together the oldest', async (t) => {
  const server = await startNotebook(t);
  const { note } = openNotes(t, server.url, { sessionLimits: { most: 4, mostOfOneOwner: 2 } });
  await note('org_1', 'kept');
  for (const path of ['?a', '?b', '?c']) await note('org_2', 'x', { url: server.url + path });
  assert.deepEqual(await server.endings(1), ['s2']);
  assert.deepEqual(await note('org_1', 'still'), { notes: ['kept', 'still'] });
  await note('org_3', 'x');
  await note('org_4', 'x');
  assert.deepEqual(await server.endings(2), ['s2', 's3']);
  assert.deepEqual(await note('org_1', 'there'), { notes: ['kept', 'still', 'there'] });
});

test('a gateway that stops ends its sessions, and waits for no server that does not listen', async (t) => {
  const server = await startNotebook(t);
  const deaf = await startRawAgent(t, ({ head, body, socket }) => {
    if (head.startsWith('DELETE')) return;
    const { id } = JSON.parse(body) as Said;
    const result = { protocolVersion: '2025-11-25', content: [{ type: 'text', text: 'x' }] };
    socket.write(jsonAnswer({ jsonrpc: '2.0', id, result }, { 'mcp-session-id': 'd' }));
  });
  const { upstream, note } = openNotes(t, server.url);
  await note('org_1', 'x');
  await note('org_2', 'x');
  await note('org_1', 'x', { url: deaf.url });
  await upstream.close();
  assert.deepEqual(new Set(await server.endings(2)), new Set(['s1', 's2']));
});

test('a session that its server has forgotten is not ended there', async (t) => {
  const server = await startNotebook(t);
  const { upstream, note } = openNotes(t, server.url);
  await note('org_1', 'x');
  server.notebooks.clear();
  server.notebooks.set('not ours', []);
  assert.deepEqual(await note('org_1', 'y'), { notes: ['y'] });
  await upstream.close();
  assert.equal(server.ended.length, 1);
});
