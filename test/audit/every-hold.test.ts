import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, beforeEach, test } from 'node:test';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { receiptPayload, receiptTemplate } from '../../src/audit/receipts.ts';
import { canonicalJson, hashJson } from '../../src/base/canonical-json.ts';
import type { Json } from '../../src/base/json.ts';
import { createSweeper } from '../../src/calls/sweeper.ts';
import { manifestOf, startSeller } from '../support/gateway.ts';
import { call, endOf, openWorld, type World } from '../support/world.ts';
import { startRestGateway } from '../http/rest-gateway.ts';
import { seededNumbers } from '../flows/load.ts';
import { provenChain, receiptFaults } from './filed-chain.ts';
import { factsOf } from './receipt-book.ts';
import { receiptOf } from '../support/receipt-of.ts';
import { readReceipt } from '../../src/audit/receipts.ts';

const DIES = fileURLToPath(new URL('dies-before-answer.ts', import.meta.url));

let world: World;
before(async () => {
  world = await openWorld();
});
after(() => world.close());
beforeEach(() => {
  world.seller.visits = [];
  world.seller.automatic = (visit) => visit.answer({ answer: 'so' });
});

/** The time of every open hold has passed, and somebody sweeps. */
async function expireAll(): Promise<void> {
  await world.database.pool.query(
    `UPDATE ledger_holds SET expires_at = created_at + interval '1 microsecond'`,
  );
  await createSweeper(world.process).sweep();
}

async function payloadOf(callId: string): Promise<string> {
  const { rows } = await world.database.pool.query<{ payload: string }>(
    'SELECT payload FROM receipts WHERE call_id = $1',
    [callId.slice('call_'.length)],
  );
  return rows[0]?.payload ?? '';
}

test('a refund has a receipt that proves it cost nothing, and why', async () => {
  const caller = await world.newCaller('100');
  world.seller.automatic = (visit) => visit.answer({ reply: 'so' });
  const result = await call(world.process, caller, await world.publish());
  const [proven] = await provenChain(world.process, caller);
  assert.ok(proven && result.receipt);
  const { jws: _, ...told } = readReceipt(result.receipt);
  assert.deepEqual(proven.receipt, told);
  const { outcome, code, held, charged, fee, output_hash } = proven.receipt;
  assert.deepEqual(
    { outcome, code, held, charged, fee, output_hash },
    { outcome: 'refunded', code: 'OUTPUT_INVALID', held: '10', charged: '0', fee: '0', output_hash: null },
  );
});

test('a receipt the sweeper files is byte for byte what a gateway would have filed', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish({
    version: '1.2.3-beta.4',
    pricing: { model: 'per_call', credits_per_call: '7.25' },
  });
  world.seller.automatic = undefined;
  const dying = await world.openProcess();
  const running = call(dying, caller, agentId, { input: { question: 'wo? 100% "so"\\' } });
  const visit = await world.seller.visit(0);
  await expireAll();
  const [proven] = await provenChain(world.process, caller);
  assert.ok(proven);
  const { receipt } = proven;

  const payload = await payloadOf(receipt.call_id);
  assert.equal(payload, canonicalJson(JSON.parse(payload) as Json));
  const facts = factsOf({
    agentId,
    agentVersion: '1.2.3-beta.4',
    callId: receipt.call_id,
    chargedMicros: 0n,
    feeMicros: 0n,
    heldMicros: 7_250_000n,
    code: 'INTERNAL',
    outputHash: undefined,
    inputHash: hashJson({ question: 'wo? 100% "so"\\' }),
    keyId: caller.keyId,
    organizationId: caller.organizationId,
    manifestHash: dying.catalog.find(agentId)?.manifestHash ?? '',
    // Of the moments it is only known that they are moments: the database has its own clock.
    startedAt: receipt.started_at,
    endedAt: receipt.ended_at,
  });
  assert.equal(payload, receiptPayload(receiptTemplate(facts), { prev: '0'.repeat(64), seq: '1' }));

  // Should its gateway have lived after all, it tells the same receipt, and there is no second one.
  visit.answer({ answer: 'late' });
  const told = await running;
  assert.equal(receiptOf(told).seq, 1);
  assert.equal(receiptOf(told).code, 'INTERNAL');
  assert.equal((await provenChain(world.process, caller)).length, 1);
  await dying.close();
});

test('fifty calls at once over two gateways make one unbroken chain', async () => {
  const caller = await world.newCaller('1000');
  const agentId = await world.publish();
  const other = await world.openProcess();
  world.seller.automatic = (visit) => visit.answer({ answer: 'so' });
  const results = await Promise.all(
    Array.from({ length: 50 }, (_, index) =>
      call(index % 2 === 0 ? world.process : other, caller, agentId, { input: { question: String(index) } }),
    ),
  );
  const proven = await provenChain(other, caller);
  assert.equal(proven.length, 50);
  assert.deepEqual(
    new Set(proven.map(({ receipt }) => receipt.call_id)),
    new Set(results.map(({ receipt }) => receipt?.callId)),
  );
  for (const result of results) {
    const { prev, seq } = receiptOf(result);
    assert.equal(prev, prevIn(proven, seq ?? 0));
  }
  await other.close();
});

function prevIn(proven: { hash: string }[], seq: number): string {
  return proven[seq - 2]?.hash ?? '0'.repeat(64);
}

test('under a random mix of ends, over two gateways and a sweeper, every hold that ended has exactly one receipt', async () => {
  const random = seededNumbers(20_260_102);
  const other = await world.openProcess();
  const callers = await Promise.all([
    world.newCaller('300'),
    world.newCaller('300', { currency: 'test' }),
    world.newCaller('120'),
  ]);
  const agentId = await world.publish({
    endpoint: { protocol: 'http', url: world.seller.url, timeout_ms: 1_000, max_payload_bytes: 100_000 },
  });
  world.seller.automatic = (visit) => {
    const ends = [
      () => visit.answer({ answer: 'so' }),
      () => visit.answer({ answer: 'so' }),
      () => visit.answer({ reply: 'so' }),
      () => visit.response.writeHead(500).end('{}'),
      () => visit.response.destroy(),
      () => {},
    ];
    ends[random(0, ends.length - 1)]?.();
  };
  const words = new Map<string, number>();
  for (let round = 0; round < 6; round += 1) {
    const calls = Array.from({ length: 20 }, (_, index) => {
      const leaves = new AbortController();
      const buyer = callers[random(0, callers.length - 1)];
      assert.ok(buyer);
      const made = call(random(0, 1) === 0 ? world.process : other, buyer, agentId, {
        input: { question: `${round} ${index}` },
        signal: leaves.signal,
      });
      if (random(0, 5) === 0) leaves.abort();
      return made;
    });
    // The sweeper takes whatever is open at some moment, as if its gateway had died.
    if (round % 2 === 0) await expireAll();
    for (const result of await Promise.all(calls)) {
      words.set(endOf(result), (words.get(endOf(result)) ?? 0) + 1);
      if (result.receipt)
        assert.equal(readReceipt(result.receipt).outcome, result.kind === 'answer' ? 'settled' : 'refunded');
    }
  }
  await other.close();
  assert.deepEqual(await receiptFaults(world.database.pool), []);
  let filed = 0;
  for (const caller of callers) filed += (await provenChain(world.process, caller)).length;
  assert.ok(filed > 60, `${filed} receipts`);
  for (const word of [
    'answer',
    'OUTPUT_INVALID',
    'AGENT_ERROR',
    'AGENT_UNREACHABLE',
    'CANCELLED',
    'TIMEOUT',
  ]) {
    assert.ok((words.get(word) ?? 0) > 0, `${word} was not among ${JSON.stringify([...words])}`);
  }
});

test('a gateway that is killed after the money moved and before it answered leaves the receipt behind', async () => {
  const rest = await startRestGateway();
  const seller = await startSeller(({ text }) => ({ text }));
  try {
    const agentId = await rest.publish(manifestOf('dies', seller.url), 80);
    const buyer = await rest.newMember('10', { scopes: ['agents:invoke', 'billing:read'] });
    const child = spawn(process.execPath, [DIES, rest.databaseUrl, buyer.key, agentId], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [said, [, signal]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
    assert.deepEqual([said, signal], ['', 'SIGKILL']);

    const { body } = await rest.send('GET', '/v1/billing/receipts', { key: buyer.key });
    assert.equal(body.items.length, 1);
    assert.equal(body.items[0].outcome, 'settled');
    assert.equal(body.items[0].charged, '5');
    const balance = await rest.send('GET', '/v1/billing/balance', { key: buyer.key });
    assert.equal(balance.body.credits, '5');
    assert.deepEqual(await receiptFaults(rest.gateway.database.pool), []);
  } finally {
    await seller.close();
    await rest.close();
  }
});

test('no receipt can be changed, removed or swept away, also by ourselves', async () => {
  const caller = await world.newCaller('100');
  await call(world.process, caller, await world.publish());
  for (const statement of [
    `UPDATE receipts SET payload = replace(payload, '"charged":"10"', '"charged":"9"')`,
    'DELETE FROM receipts',
    'TRUNCATE receipts',
  ]) {
    await assert.rejects(world.database.pool.query(statement), /a receipt is never changed/);
  }
  assert.equal((await provenChain(world.process, caller)).length, 1);
});
