import assert from 'node:assert/strict';
import { test } from 'node:test';
import { idOfUuid, newId, newSecret, uuidOfId } from '../../src/base/ids.ts';

test('a hundred thousand ids are all different UUIDs of version 7', () => {
  const ids = new Set(Array.from({ length: 100_000 }, () => newId('call')));
  assert.equal(ids.size, 100_000);
  for (const id of ids) assert.match(id, /^call_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
});

test('an id made in a later millisecond sorts after an earlier one, as text and by its time', () => {
  for (let n = 0; n < 20; n++) {
    const before = Date.now();
    const earlier = newId('call');
    const made = Number.parseInt(earlier.slice(5, 17), 16);
    assert.ok(made >= before && made <= Date.now());
    while (Date.now() <= made);
    assert.ok(newId('call') > earlier);
  }
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
