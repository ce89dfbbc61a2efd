import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPatience } from '../../src/base/patience.ts';

test('an answer that comes in time is the answer, and a failure the failure', async () => {
  const wait = createPatience(60_000);
  assert.equal(await wait(Promise.resolve(7)), 7);
  const failure = new Error('no');
  await assert.rejects(wait(Promise.reject(failure)), (error) => error === failure);
});

test('each is waited for as long as it may take, and no longer', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let now = 1_000;
  t.mock.method(performance, 'now', () => now);
  const wait = createPatience(1_600);
  const late: unknown[] = [];
  const never = new Promise<string>(() => {});
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 100) {
      now += 100;
      t.mock.timers.tick(100);
    }
    await Promise.resolve();
  };
  return (async () => {
    void wait(never).then((answer) => late.push(['first', answer]));
    await pass(800);
    void wait(never).then((answer) => late.push(['second', answer]));
    await pass(700);
    assert.equal(late.length, 0);
    await pass(100);
    assert.deepEqual(late, [['first', undefined]]);
    await pass(800);
    assert.deepEqual(late, [
      ['first', undefined],
      ['second', undefined],
    ]);
    // The timer has stopped with the last of them, and starts again with the next.
    void wait(never).then((answer) => late.push(['third', answer]));
    await pass(1_700);
    assert.deepEqual(late.at(-1), ['third', undefined]);
  })();
});

test('nothing that was answered is told to be late', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const wait = createPatience(10);
  const answers = await Promise.all([wait(Promise.resolve('a')), wait(Promise.resolve('b'))]);
  t.mock.timers.tick(1_000);
  assert.deepEqual(answers, ['a', 'b']);
});
