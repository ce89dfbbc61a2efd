import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { manifestOf, startSeller } from '../support/gateway.ts';
import { startStripe, type StripeStandIn } from '../support/stripe.ts';
import { startRestGateway, type Answer, type Member, type RestGateway } from './rest-gateway.ts';

const SCOPES = ['agents:invoke', 'billing:read', 'billing:write'] as const;
const PER_MINUTE = 30;
const ACCOUNT = '/v1/billing/payouts/account';

let stripe: StripeStandIn;
let rest: RestGateway;
before(async () => {
  stripe = await startStripe();
  rest = await startRestGateway({ stripe: stripe.options });
});
after(async () => {
  await rest.close();
  await stripe.close();
});

const newMember = (): Promise<Member> => rest.newMember('100', { currency: 'test', scopes: [...SCOPES] });
const onboard = ({ key }: Member): Promise<Answer> => rest.send('POST', ACCOUNT, { key });

/** A script that is stuck: it asks until it is refused. */
async function askUntilRefused(member: Member): Promise<{ allowed: number; refused: Answer; most: number }> {
  const before = performance.now();
  for (let allowed = 0; ; allowed += 1) {
    const answer = await onboard(member);
    // A turn comes back every two seconds of the minute.
    const most = PER_MINUTE + 1 + Math.ceil((performance.now() - before) / 2_000);
    if (answer.status !== 200) return { allowed, refused: answer, most };
    assert.ok(allowed < most, `asked ${allowed} times`);
  }
}

test('a stuck script has Stripe asked so many times a minute, by all keys of its organization, and stops nobody else', async () => {
  const member = await newMember();
  const seller = await startSeller(({ text }) => ({ text }));
  try {
    const agent = await rest.publish(manifestOf('beside', seller.url), 80);
    const { allowed, refused, most } = await askUntilRefused(member);
    assert.ok(allowed >= PER_MINUTE && allowed <= most, `${allowed}`);
    assert.deepEqual(
      [refused.status, refused.body.code, refused.body.retryable],
      [429, 'RATE_LIMITED', true],
    );
    const seconds = Number(refused.headers.get('retry-after'));
    assert.ok(seconds >= 1 && seconds <= 3, `${seconds}`);

    const asked = stripe.requests.length;
    const second = await rest.newKey(member.organizationId, { currency: 'test', scopes: [...SCOPES] });
    const payout = { 'idempotency-key': 'the-payout-of-a-stuck-script' };
    const rule = { threshold_credits: '200', amount_usd: 10, monthly_ceiling_usd: 50 };
    const answers = await Promise.all([
      rest.send('POST', '/v1/billing/load', { key: second.key, body: { amount_usd: 5 } }),
      rest.send('POST', '/v1/billing/payouts', { key: second.key, headers: payout }),
      rest.send('PUT', '/v1/billing/auto-top-up', { key: second.key, body: rule }),
      rest.send('DELETE', '/v1/billing/card', { key: second.key }),
      onboard(second),
    ]);
    // At most one turn has come back since.
    assert.ok(answers.filter(({ status }) => status === 429).length >= answers.length - 1);
    assert.ok(stripe.requests.length - asked <= 2);

    const call = await rest.send('POST', `/v1/agents/${agent}/invoke`, {
      key: member.key,
      body: { inputs: { text: 'x' } },
    });
    assert.equal(call.status, 200, 'its agents go on');
    assert.equal((await onboard(await newMember())).status, 200, 'and so do other organizations');
  } finally {
    await seller.close();
  }
});

test('who looks at the payout account again and again is answered what is known, and Stripe is left alone', async () => {
  const member = await newMember();
  assert.equal((await onboard(member)).status, 200);
  const asked = stripe.requests.length;
  const before = performance.now();
  const looks = await Promise.all(
    Array.from({ length: 3 * PER_MINUTE }, () => rest.send('GET', ACCOUNT, { key: member.key })),
  );
  for (const { status, body } of looks)
    assert.deepEqual([status, body.connected, body.ready], [200, true, false]);
  const count = stripe.requests.length - asked;
  assert.ok(count >= 1 && count <= PER_MINUTE + 1 + (performance.now() - before) / 2_000, `${count}`);
  assert.equal((await onboard(member)).status, 200, 'looking takes no turn from asking');
});

test('what is not understood takes no turn', async () => {
  const member = await newMember();
  for (let n = 0; n <= PER_MINUTE; n += 1) {
    const { status } = await rest.send('POST', '/v1/billing/load', { key: member.key, body: {} });
    assert.equal(status, 400);
  }
  const load = await rest.send('POST', '/v1/billing/load', { key: member.key, body: { amount_usd: 5 } });
  assert.equal(load.status, 201);
});

test('without Stripe that is said first, whatever else is missing', async () => {
  const bare = await startRestGateway();
  try {
    const { key } = await bare.newMember('0', { scopes: [...SCOPES] });
    for (const [method, path] of [
      ['POST', '/v1/billing/payouts'],
      ['POST', ACCOUNT],
      ['POST', '/v1/billing/load'],
      ['PUT', '/v1/billing/auto-top-up'],
    ] as const) {
      const { status, body } = await bare.send(method, path, { key, body: { nonsense: true } });
      assert.deepEqual([status, body.code], [503, 'STRIPE_NOT_CONFIGURED'], `${method} ${path}`);
      const reader = await bare.newMember('0', { scopes: ['billing:read'] });
      assert.equal((await bare.send(method, path, { key: reader.key })).status, 403, 'the key before that');
    }
  } finally {
    await bare.close();
  }
});
