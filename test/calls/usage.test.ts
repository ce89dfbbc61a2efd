import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import type { EndedCall } from '../../src/calls/deps.ts';
import { call, endOf, openWorld, type Process, type World } from '../support/world.ts';
import { receiptOf } from '../support/receipt-of.ts';

const PRICING = { model: 'per_unit', unit: 'page', credits_per_unit: '0.5', max: '5' };
const ended: EndedCall[] = [];
let world: World;
let process: Process;
before(async () => {
  world = await openWorld();
  process = await world.openProcess({ onEnded: (each) => ended.push(each) });
});
after(() => world.close());
beforeEach(() => {
  ended.length = 0;
});

/** The agent answers in a stream whose last frame says this usage. */
function report(usage: unknown): void {
  world.seller.automatic = ({ response }) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(`event: done\ndata: ${JSON.stringify({ output: { answer: 'so' }, usage })}\n\n`);
  };
}

const REPORTS: [title: string, quantity: string, charged: string, isOver: boolean][] = [
  ['less than the most is charged as it is', '9.999999', '4.999999', false],
  ['exactly the most is no over-report', '10', '5', false],
  ['a millionth of a unit more is cut to the most, and told', '10.000002', '5', true],
  ['any more is cut to the most, and told', '999999999999', '5', true],
];
for (const [title, quantity, charged, isOver] of REPORTS) {
  test(`a reported usage of ${title}`, async () => {
    const caller = await world.newCaller('5');
    const agentId = await world.publish({ pricing: PRICING });
    report({ quantity });
    const result = await call(process, caller, agentId);
    assert.deepEqual([endOf(result), receiptOf(result).charged], ['answer', charged]);
    assert.equal((await world.lastRecord(caller, process)).over_reported, isOver);
    assert.deepEqual(
      ended.map(({ isOverReported }) => isOverReported),
      [isOver],
    );
  });
}

const UNITS: [title: string, unit: unknown, end: string][] = [
  ['the agent’s own unit is charged', 'page', 'answer'],
  ['another unit is refunded', 'token', 'OUTPUT_INVALID'],
  ['the unit in other letters is refunded', 'Page', 'OUTPUT_INVALID'],
  ['a unit that is no text is refunded', 7, 'OUTPUT_INVALID'],
];
for (const [title, unit, end] of UNITS) {
  test(`a usage in ${title}`, async () => {
    const caller = await world.newCaller('5');
    const agentId = await world.publish({ pricing: PRICING });
    report({ quantity: 2, unit });
    const result = await call(process, caller, agentId);
    assert.deepEqual([endOf(result), receiptOf(result).charged], [end, end === 'answer' ? '1' : '0']);
  });
}
