import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startRestGateway, type Answer, type Member, type RestGateway } from './rest-gateway.ts';

let rest: RestGateway;
let member: Member;
before(async () => {
  rest = await startRestGateway();
  member = await rest.newMember('1', { scopes: ['billing:read', 'billing:write', 'calls:read'] });
});
after(() => rest.close());

const placesOf = ({ body }: Answer): string[] => (body.faults as { path: string }[]).map(({ path }) => path);
const send = (method: string, path: string, body?: unknown): Promise<Answer> =>
  rest.send(method, path, { key: member.key, body });

for (const [path, place] of [
  ['/v1/billing/usage?cursor=a%00', '/cursor'],
  ['/v1/billing/usage?group_by=session&cursor=%00', '/cursor'],
  ['/v1/billing/transactions?agent=a%00', '/agent'],
  ['/v1/billing/keys?cursor=%00', '/cursor'],
  ['/v1/billing/loads/%00', '/id'],
  ['/v1/billing/disputes/%00', '/id'],
  ['/v1/billing/payouts/%00', '/id'],
  ['/v1/billing/receipts/%00', '/call'],
  ['/v1/calls?agent_id=%00', '/agent_id'],
  ['/v1/calls/%00', '/id'],
  ['/v1/webhooks/%00', '/id'],
  ['/v1/billing/usage?from=0000-01-01', '/from'],
  ['/v1/billing/usage?to=1969-12-31T23:59:59Z', '/to'],
  ['/v1/billing/transactions?from=0000-01-01', '/from'],
  ['/v1/billing/transactions?to=9999-12-31T23:59:59-23:59', '/to'],
  ['/v1/billing/earnings/calls?from=0000-01-01', '/from'],
  ['/v1/billing/proof?day=0000-01-01', '/day'],
] as const) {
  test(`GET ${path} is refused by the name of ${place}`, async () => {
    const answer = await send('GET', path);
    assert.equal(answer.status, 400, answer.text);
    assert.equal(answer.body.code, 'INVALID_INPUT');
    assert.deepEqual(placesOf(answer), [place]);
  });
}

for (const bad of ['a\0', '\ud800']) {
  test(`a webhook is not described by ${JSON.stringify(bad)}`, async () => {
    for (const [member, body] of [
      ['/description', { url: 'http://127.0.0.1:9/', description: bad }],
      ['/url', { url: `http://127.0.0.1:9/${bad}` }],
    ] as const) {
      const answer = await send('POST', '/v1/webhooks', body);
      assert.equal(answer.status, 400, answer.text);
      assert.deepEqual(placesOf(answer), [member]);
    }
  });
}

test('caps are not set for a key whose id is no text', async () => {
  const answer = await send('PUT', '/v1/billing/keys/key_%00/caps', {});
  assert.equal(answer.status, 400, answer.text);
  assert.deepEqual(placesOf(answer), ['/id']);
});

test('of a body that is all wrong a hundred faults and twenty places are told', async () => {
  const body = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`wrong_${index}`, 1]));
  const answer = await send('PUT', '/v1/billing/budget', body);
  assert.equal(answer.status, 400);
  assert.equal(placesOf(answer).length, 100);
  assert.match(answer.body.detail, /\/wrong_19 and 480 more\.$/);
});

test('a body of billing or webhooks has at most 64 KiB, but an event of Stripe may be longer', async () => {
  const body = { url: 'http://127.0.0.1:9/', description: 'x'.repeat(64 * 1024) };
  for (const [method, path] of [
    ['POST', '/v1/webhooks'],
    ['PATCH', '/v1/webhooks/whe_00000000000070008000000000000000'],
    ['PUT', '/v1/billing/budget'],
    ['POST', '/v1/billing/load'],
  ] as const) {
    const { status, body: problem } = await send(method, path, body);
    assert.deepEqual([status, problem.code], [413, 'PAYLOAD_TOO_LARGE'], path);
  }
  assert.equal((await send('POST', '/v1/billing/webhooks/stripe', body)).body.code, 'STRIPE_NOT_CONFIGURED');
});

test('a webhook chooses from at most fifty events', async () => {
  const events = Array.from({ length: 51 }, () => 'payout.paid');
  const answer = await send('POST', '/v1/webhooks', { url: 'http://127.0.0.1:9/', events });
  assert.equal(answer.status, 400);
  assert.deepEqual(placesOf(answer), ['/events']);
});
