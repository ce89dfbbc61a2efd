import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBatcher } from '../../src/base/batcher.ts';

test('what is asked for in one turn goes together, and each gets its own answer', async () => {
  const batches: number[][] = [];
  const batcher = createBatcher<number, number>(
    (items) => {
      batches.push(items);
      return Promise.resolve(items.map((item) => item * 2));
    },
    { maxBatch: 100 },
  );
  assert.deepEqual(await Promise.all([1, 2, 3].map(batcher.add)), [2, 4, 6]);
  assert.deepEqual(batches, [[1, 2, 3]]);
});

test('one batch is under way at a time; what comes meanwhile is the next, in the order it came', async () => {
  const batches: { items: number[]; done(): void }[] = [];
  let atOnce = 0;
  const batcher = createBatcher<number, number>(
    async (items) => {
      atOnce += 1;
      assert.equal(atOnce, 1);
      await new Promise<void>((done) => batches.push({ items, done }));
      atOnce -= 1;
      return items;
    },
    { maxBatch: 4 },
  );
  const answers = [batcher.add(0)];
  await turn();
  for (let n = 1; n <= 9; n++) answers.push(batcher.add(n));
  await turn();
  assert.equal(batches.length, 1);
  assert.equal(batcher.depth(), 10);
  for (let sent = 0; sent < 4; sent++) {
    batches[sent]?.done();
    await turn();
    await turn();
  }
  assert.deepEqual(await Promise.all(answers), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(
    batches.map(({ items }) => items),
    [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]],
  );
  assert.equal(batcher.depth(), 0);
});

test('two batches are under way where two may be, and whoever drains waits for the earlier one', async () => {
  const batches: { items: number[]; done(): void }[] = [];
  const batcher = createBatcher<number, number>(
    async (items) => {
      await new Promise<void>((done) => batches.push({ items, done }));
      return items;
    },
    { maxBatch: 2, inFlight: 2 },
  );
  const answers = [1, 2].map(batcher.add);
  let isDrained = false;
  const drained = batcher.drain().then(() => (isDrained = true));
  await turn();
  answers.push(...[3, 4, 5, 6, 7].map(batcher.add));
  await turn();
  batches[1]?.done();
  await turn();
  await turn();
  assert.deepEqual(
    batches.map(({ items }) => items),
    [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
  );
  assert.equal(isDrained, false, 'only what came later is answered');
  assert.equal(batcher.depth(), 5);
  batches[0]?.done();
  await drained;
  await turn();
  await turn();
  for (const batch of batches.slice(2)) batch.done();
  assert.deepEqual(await Promise.all(answers), [1, 2, 3, 4, 5, 6, 7]);
  assert.equal(batcher.depth(), 0);
});

test('several batches leave in one turn where they may', async () => {
  const batches: number[][] = [];
  const batcher = createBatcher<number, number>(
    (items) => {
      batches.push(items);
      return new Promise(() => {});
    },
    { maxBatch: 2, inFlight: 2 },
  );
  for (let n = 1; n <= 5; n++) void batcher.add(n);
  await turn();
  assert.deepEqual(batches, [
    [1, 2],
    [3, 4],
  ]);
});

test('a batch that fails fails those in it, and leaves the next alone', async () => {
  const batcher = createBatcher<number, number>(
    (items) => {
      if (items.includes(2)) throw new Error('no');
      return Promise.resolve(items);
    },
    { maxBatch: 2 },
  );
  const answers = await Promise.allSettled([1, 2, 3, 4].map(batcher.add));
  assert.deepEqual(
    answers.map(({ status }) => status),
    ['rejected', 'rejected', 'fulfilled', 'fulfilled'],
  );
});

test('draining waits for everything that was added, and for nothing when there is nothing', async () => {
  const done: number[] = [];
  const batcher = createBatcher<number, undefined>(
    async (items) => {
      await turn();
      done.push(...items);
      return [];
    },
    { maxBatch: 2 },
  );
  await batcher.drain();
  for (let n = 0; n < 5; n++) void batcher.add(n);
  await batcher.drain();
  assert.deepEqual(done, [0, 1, 2, 3, 4]);
});

test('a batch that fails by something in it is halved until that stands alone, and each half is told at once', async () => {
  const sent: number[][] = [];
  const told: number[] = [];
  const batcher = createBatcher<number, number>(
    async (items) => {
      sent.push(items);
      await turn();
      if (items.includes(6)) throw new RangeError('six');
      return items.map((item) => item * 10);
    },
    { maxBatch: 10, halvesOn: (error) => error instanceof RangeError },
  );
  const answers = [0, 1, 2, 3, 4, 5, 6, 7].map((item) =>
    batcher.add(item).then((answer) => {
      told.push(answer);
      // The second half is still to be sent.
      if (item === 0) assert.equal(sent.length, 2);
      return answer;
    }),
  );
  let isDrained = false;
  const drained = batcher.drain().then(() => (isDrained = true));
  await assert.rejects(answers[6]!, /six/);
  assert.equal(isDrained, false, 'one is still on its way');
  assert.equal(await answers[7], 70);
  await drained;
  assert.equal(batcher.depth(), 0);
  assert.deepEqual(told, [0, 10, 20, 30, 40, 50, 70]);
  assert.deepEqual(sent, [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [6, 7], [6], [7]]);
});

test('a batch that fails by anything else is not halved', async () => {
  let sent = 0;
  const batcher = createBatcher<number, number>(
    () => {
      sent += 1;
      return Promise.reject(new Error('away'));
    },
    { maxBatch: 10, halvesOn: (error) => error instanceof RangeError },
  );
  const answers = await Promise.allSettled([1, 2, 3].map((item) => batcher.add(item)));
  assert.ok(answers.every(({ status }) => status === 'rejected'));
  assert.equal(sent, 1);
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
