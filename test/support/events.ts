import assert from 'node:assert/strict';
import { WEBHOOK_EVENTS } from '../../src/http/webhook-events.ts';

/** Throws unless what is told has exactly the members that the description of the API gives it. */
export function assertDescribed(type: string, data: unknown): void {
  const event = Object.entries(WEBHOOK_EVENTS).find(([name]) => name === type);
  assert.ok(event, `${type} is described`);
  assert.deepEqual(event[1].data.parse(data), data);
}
