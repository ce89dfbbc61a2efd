import assert from 'node:assert/strict';
import { test } from 'node:test';
import { idOfUuid, newId, newSecret, uuidOfId } from '../../src/base/ids.ts';

/** Milliseconds since 1970, as the id has them. */
const timeOf = (id: string): number => Number.parseInt(id.slice('call_'.length).slice(0, 12), 16);

test('an id tells when it was made', () => {
  for (let n = 0; n < 20; n++) {
    const before = Date.now();
    const made = timeOf(newId('call'));
    assert.ok(made >= before && made <= Date.now());
    while (Date.now() <= made);
  }
});

test('a hundred thousand ids are UUIDs of version 7, and each sorts after those made before it', () => {
  const ids = Array.from({ length: 100_000 }, () => newId('call'));
  let previous = '';
  for (const id of ids) {
    assert.match(id, /^call_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
    assert.ok(id > previous, `${id} after ${previous}`);
    previous = id;
  }
});

test('ids go on rising while the clock is set back a little, and follow it again when it has caught up', (t) => {
  const start = Date.now() + 60_000;
  t.mock.timers.enable({ apis: ['Date'], now: start });
  const first = newId('call');
  assert.equal(timeOf(first), start);
  t.mock.timers.setTime(start - 30_000);
  let previous = first;
  for (let n = 0; n < 10_000; n++) {
    const next = newId('call');
    assert.ok(next > previous);
    previous = next;
  }
  // 4,096 of them share a millisecond.
  assert.ok(timeOf(previous) - start <= 3);
  t.mock.timers.setTime(start + 30_000);
  assert.equal(timeOf(newId('call')), start + 30_000);
  // It had been wrong by a day.
  t.mock.timers.setTime(start - 86_400_000);
  assert.equal(timeOf(newId('call')), start - 86_400_000);
});

test('an id and its UUID are told from each other, with dashes or without', () => {
  const id = newId('org');
  const uuid = uuidOfId('org', id) ?? '';
  const dashed = uuid.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  assert.equal(idOfUuid('org', uuid), id);
  assert.equal(idOfUuid('org', dashed), id);
});

test('what is not an id of that kind has no UUID', () => {
  const hex = 'a'.repeat(32);
  for (const text of [
    `org_${hex}`,
    hex,
    `call${hex}`,
    `call_${hex}a`,
    `call_${hex.slice(1)}`,
    `call_${hex.toUpperCase()}`,
    `call_${hex}\n`,
    `call__${hex.slice(1)}`,
    '',
    'call_',
  ]) {
    assert.equal(uuidOfId('call', text), undefined, JSON.stringify(text));
  }
});

test('a secret is as long as it was asked for, and another one each time', () => {
  assert.match(newSecret(20), /^[0-9a-f]{40}$/);
  assert.notEqual(newSecret(20), newSecret(20));
});
