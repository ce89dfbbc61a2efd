import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { hashJson } from '../../src/base/canonical-json.ts';
import type { Caller } from '../../src/identity/caller.ts';
import { receiptOf } from '../support/receipt-of.ts';
import { call, openWorld, type Visit, type World } from '../support/world.ts';

const CREDIT = 1_000_000n;
let world: World;
before(async () => {
  world = await openWorld();
});
after(() => world.close());
beforeEach(() => {
  world.seller.visits = [];
  world.seller.automatic = undefined;
});

const metered = { model: 'per_unit', unit: 'page', credits_per_unit: '2', max: '20' };

type Step = ['chunk', string] | ['usage', object];

/** Streams these frames and waits until the gateway has passed every chunk on. */
function stream({ response }: Visit, steps: Step[]): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (const [event, data] of steps) {
    response.write(`event: ${event}\ndata: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`);
  }
}

/** Buys, hears all of these frames, and hangs up at the last chunk. */
async function hearAndLeave(
  caller: Caller,
  manifest: Record<string, unknown>,
  steps: Step[],
  options: { deaf?: boolean } = {},
) {
  const agentId = await world.publish({ pricing: metered, capabilities: { streaming: true }, ...manifest });
  const buyer = new AbortController();
  const { upstream } = world.process;
  const hear = (chunk: string): void => {
    if (chunk === 'the last') buyer.abort();
  };
  // A buyer who listens to no chunk leaves when the gateway has received the last one.
  const listening = options.deaf
    ? {
        ...upstream,
        prepare: (request: Parameters<typeof upstream.prepare>[0]) =>
          upstream.prepare({
            ...request,
            onChunk: (chunk) => {
              request.onChunk?.(chunk);
              hear(chunk);
            },
          }),
      }
    : upstream;
  const result = call({ ...world.process, upstream: listening }, caller, agentId, {
    signal: buyer.signal,
    ...(options.deaf ? {} : { onChunk: hear }),
  });
  stream(await world.seller.visit(0), [...steps, ['chunk', 'the last']]);
  const ended = await result;
  await world.process.recorder.flushed();
  return { ended };
}

async function spent(caller: Caller): Promise<bigint> {
  const { posted, held } = await world.money(caller);
  assert.equal(held, 0n, 'nothing is left on hold');
  return 100n * CREDIT - posted;
}

test('a buyer who leaves a metered stream pays for what was reported and delivered, and the rest comes back', async () => {
  const caller = await world.newCaller('100');
  const { ended } = await hearAndLeave(caller, {}, [
    ['chunk', 'page one'],
    ['usage', { quantity: 1 }],
    ['chunk', 'page two'],
    ['usage', { quantity: '2', unit: 'page' }],
    ['chunk', 'page three'],
  ]);
  assert.ok(ended.kind === 'problem');
  assert.equal(ended.problem.code, 'CANCELLED');
  assert.match(ended.problem.message, /4 credits were charged for what had been delivered: 2 \(page\)/);
  assert.equal(ended.chargedMicros, 4n * CREDIT);
  const receipt = receiptOf(ended);
  assert.deepEqual(
    [receipt.outcome, receipt.held, receipt.charged, receipt.output_hash],
    ['settled', '20', '4', hashJson(['page one', 'page two'])],
  );
  assert.equal(await spent(caller), 4n * CREDIT);
  const record = await world.lastRecord(caller);
  assert.deepEqual(
    [record.outcome, record.charged, record.code, record.delivered],
    ['settled', '4', null, true],
  );
});

const UNPAID: [title: string, manifest: Record<string, unknown>, steps: Step[], options?: { deaf: true }][] =
  [
    ['nothing was reported', {}, [['chunk', 'page one']]],
    ['nothing was delivered before the report', {}, [['usage', { quantity: 3 }]]],
    [
      'what was reported is nothing',
      {},
      [
        ['chunk', 'a'],
        ['usage', { quantity: 0 }],
      ],
    ],
    [
      'it was reported in another unit',
      {},
      [
        ['chunk', 'a'],
        ['usage', { quantity: 3, unit: 'word' }],
      ],
    ],
    [
      'the price is fixed',
      { pricing: { model: 'per_call', credits_per_call: '10' } },
      [
        ['chunk', 'a'],
        ['usage', { quantity: 3 }],
      ],
    ],
    [
      'nobody listened to the chunks',
      {},
      [
        ['chunk', 'a'],
        ['usage', { quantity: 3 }],
      ],
      { deaf: true },
    ],
    [
      'it is one of the free calls',
      { pricing: { ...metered, free_tier_calls: 1 } },
      [
        ['chunk', 'a'],
        ['usage', { quantity: 3 }],
      ],
    ],
  ];

for (const [title, manifest, steps, options] of UNPAID) {
  test(`a buyer who leaves a stream pays nothing when ${title}`, async () => {
    const caller = await world.newCaller('100');
    const { ended } = await hearAndLeave(caller, manifest, steps, options);
    assert.ok(ended.kind === 'problem');
    assert.equal(ended.problem.code, 'CANCELLED');
    assert.equal(ended.chargedMicros ?? 0n, 0n);
    assert.equal(await spent(caller), 0n);
    assert.equal((await world.lastRecord(caller)).outcome, 'refunded');
  });
}

test('a report that goes beyond the most is cut to the most', async () => {
  const caller = await world.newCaller('100');
  await hearAndLeave(caller, {}, [
    ['chunk', 'a'],
    ['usage', { quantity: 11 }],
  ]);
  assert.equal(await spent(caller), 20n * CREDIT);
  assert.equal((await world.lastRecord(caller)).over_reported, true);
});

test('a report that is no quantity ends the call unpaid', async () => {
  const caller = await world.newCaller('100');
  const { ended } = await hearAndLeave(caller, {}, [
    ['chunk', 'a'],
    ['usage', { quantity: -1 }],
  ]);
  assert.ok(ended.kind === 'problem');
  assert.equal(ended.problem.code, 'OUTPUT_INVALID');
  assert.equal(await spent(caller), 0n);
});

test('an agent that fails after it reported is not paid, while its buyer is there', async () => {
  const caller = await world.newCaller('100');
  const agentId = await world.publish({ pricing: metered, capabilities: { streaming: true } });
  const result = call(world.process, caller, agentId, { onChunk: () => {} });
  const visit = await world.seller.visit(0);
  stream(visit, [
    ['chunk', 'a'],
    ['usage', { quantity: 3 }],
  ]);
  visit.response.end('event: error\ndata: {"message":"out of pages"}\n\n');
  const ended = await result;
  assert.ok(ended.kind === 'problem');
  assert.equal(ended.problem.code, 'AGENT_ERROR');
  assert.equal(await spent(caller), 0n);
});

test('a gateway that shuts down in the middle of a metered stream charges nothing', async () => {
  const process = await world.openProcess();
  const caller = await world.newCaller('100');
  const agentId = await world.publish({ pricing: metered, capabilities: { streaming: true } });
  const heard = Promise.withResolvers<void>();
  const result = call(process, caller, agentId, {
    onChunk: (chunk) => chunk === 'the last' && heard.resolve(),
  });
  const visit = await world.seller.visit(0);
  stream(visit, [
    ['chunk', 'a'],
    ['usage', { quantity: 3 }],
    ['chunk', 'the last'],
  ]);
  await heard.promise;
  await process.running.drain(0);
  const ended = await result;
  assert.ok(ended.kind === 'problem');
  assert.equal(ended.problem.code, 'CANCELLED');
  assert.equal(await spent(caller), 0n);
});
