import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import type { SQL } from 'drizzle-orm';
import { Webhook } from 'standardwebhooks';
import { isJsonObject } from '../../src/base/json.ts';
import { retryAfterMs, RETRY_AFTER_MS } from '../../src/webhooks/backoff.ts';
import type { Webhooks } from '../../src/webhooks/deps.ts';
import { dispatchWebhooks } from '../../src/webhooks/dispatch.ts';
import { LEASE_MS } from '../../src/webhooks/claim-due.ts';
import {
  getDelivery,
  insertTestDelivery,
  listDeliveries,
  replayDelivery,
} from '../../src/webhooks/deliveries.ts';
import { deliverDue } from '../../src/webhooks/deliver-due.ts';
import { fanOut } from '../../src/webhooks/fan-out.ts';
import { getEndpoint, rotateSecret, ROTATION_MS, updateEndpoint } from '../../src/webhooks/endpoints.ts';
import { REFUSED_URLS } from '../upstream/refused-urls.ts';
import { startReceiver, type Receiver, type Visit } from './receiver.ts';
import { openWebhookWorld, type WebhookWorld } from './webhook-world.ts';

const HOUR = 3_600_000;

let world: WebhookWorld;
let webhooks: Webhooks;
let receiver: Receiver;
before(async () => {
  world = await openWebhookWorld();
  webhooks = world.openProcess();
});
after(() => world.close());
beforeEach(async () => {
  receiver = await startReceiver();
  await world.clock.set(Date.now());
});
afterEach(() => receiver.close());

/** An owner with one endpoint at the receiver. */
async function ownEndpoint(url: string = receiver.url) {
  const owner = await world.newOwner();
  const endpoint = await world.newEndpoint(owner, url);
  const deliveries = () =>
    listDeliveries(world.database.db, owner, endpoint.id, {
      status: undefined,
      before: undefined,
      limit: 100,
    });
  const single = async () => {
    const [delivery, ...others] = await deliveries();
    assert.ok(delivery && others.length === 0);
    return getDelivery(world.database.db, owner, delivery.id);
  };
  return { owner, endpoint, deliveries, single };
}

/** What an independent implementation of Standard Webhooks says of a request. It has its own clock. */
function verify(secret: string, { headers, body }: Visit): unknown {
  return new Webhook(secret).verify(body, headers as Record<string, string>);
}

test('what happened arrives signed so that an independent receiver accepts it, in the form of Standard Webhooks', async () => {
  const { owner, endpoint, single } = await ownEndpoint();
  await world.happen(owner, { amount: '12.5', top_up_id: 'top_1' });
  await dispatchWebhooks(webhooks);
  const visit = await receiver.visit(0);
  const payload = verify(endpoint.secret, visit);
  assert.ok(isJsonObject(payload));
  assert.deepEqual(Object.keys(payload), ['type', 'timestamp', 'data']);
  assert.equal(payload['type'], 'credits.loaded');
  assert.deepEqual(payload['data'], { amount: '12.5', top_up_id: 'top_1', currency: 'live' });
  assert.match(payload['timestamp'] as string, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  assert.equal(visit.headers['content-type'], 'application/json');

  const delivery = await single();
  assert.equal(delivery.eventId, visit.headers['webhook-id']);
  assert.equal(delivery.status, 'delivered');
  assert.deepEqual([delivery.attempts, delivery.lastStatus, delivery.lastError], [1, 204, undefined]);
  assert.deepEqual(
    delivery.log.map(({ status, error, answer }) => ({ status, error, answer })),
    [{ status: 204, error: null, answer: '' }],
  );
});

test('a body, an id or a time that was changed on the way, and another secret, are not accepted', async () => {
  const { owner, endpoint } = await ownEndpoint();
  const { endpoint: other } = await ownEndpoint();
  await world.happen(owner);
  await dispatchWebhooks(webhooks);
  const { headers, body, response } = await receiver.visit(0);
  const changes: Partial<Visit>[] = [
    { body: body.replace('12.5', '99.5') },
    { headers: { ...headers, 'webhook-id': 'evt_1' } },
    { headers: { ...headers, 'webhook-timestamp': String(Number(headers['webhook-timestamp']) + 1) } },
  ];
  for (const change of changes) {
    assert.throws(() => verify(endpoint.secret, { headers, body, response, ...change }));
  }
  assert.throws(() => verify(other.secret, { headers, body, response }));
  verify(endpoint.secret, { headers, body, response });
});

test('after a rotation both secrets verify for a day, then only the new one', async () => {
  const { owner, endpoint } = await ownEndpoint();
  const { secret } = await world.database.db.transaction((tx) => rotateSecret(tx, owner, endpoint.id));
  assert.notEqual(secret, endpoint.secret);
  await world.happen(owner);
  await dispatchWebhooks(webhooks);
  const during = await receiver.visit(0);
  assert.match(during.headers['webhook-signature'] ?? '', /^v1,\S+ v1,\S+$/);
  verify(secret, during);
  verify(endpoint.secret, during);

  // The receiver's library has a clock of its own, so the end of the day is moved and not the time.
  await world.database.pool.query(
    'UPDATE webhook_endpoints SET previous_secret_expires_at = $2 WHERE id = $1',
    [endpoint.uuid, new Date(world.clock.now() - 1)],
  );
  await world.happen(owner);
  await dispatchWebhooks(webhooks);
  const later = await receiver.visit(1);
  verify(secret, later);
  assert.throws(() => verify(endpoint.secret, later));
  const seen = await getEndpoint(world.database.db, owner, endpoint.id);
  assert.ok(seen.previousSecretExpiresAt);
  assert.equal(ROTATION_MS, 24 * HOUR);
});

test('a receiver that refuses is asked again at growing intervals for about a day, always with the same id', async () => {
  const { owner, single } = await ownEndpoint();
  receiver.answer = ({ response }) => response.writeHead(500).end('out of order');
  await world.happen(owner);
  await dispatchWebhooks(webhooks);
  const started = world.clock.now();
  for (let attempt = 1; attempt <= RETRY_AFTER_MS.length; attempt += 1) {
    const { nextAttemptAt, status, attempts } = await single();
    assert.deepEqual([status, attempts], ['pending', attempt]);
    const waited = (nextAttemptAt?.getTime() ?? 0) - world.clock.now();
    const planned = RETRY_AFTER_MS[attempt - 1] ?? 0;
    assert.ok(waited >= planned * 0.9 && waited <= planned * 1.1, `${waited} is about ${planned}`);
    await world.clock.later(waited - 1);
    await dispatchWebhooks(webhooks);
    assert.equal(receiver.visits.length, attempt, 'not a moment too early');
    await world.clock.later(1);
    await dispatchWebhooks(webhooks);
    assert.equal(receiver.visits.length, attempt + 1);
  }
  const spanned = world.clock.now() - started;
  assert.ok(spanned > 20 * HOUR && spanned < 28 * HOUR, String(spanned / HOUR));
  const given = await single();
  assert.deepEqual([given.status, given.attempts, given.lastStatus], ['failed', 11, 500]);
  assert.equal(given.log.length, 11);
  assert.equal(given.log[0]?.answer, 'out of order');
  assert.equal(given.log[0]?.error, 'it answered 500');
  assert.equal(new Set(receiver.ids()).size, 1);
  await world.clock.later(100 * HOUR);
  await dispatchWebhooks(webhooks);
  assert.equal(receiver.visits.length, 11);
});

test('a retry that succeeds ends it', async () => {
  const { owner, single } = await ownEndpoint();
  receiver.answer = ({ response }) => response.writeHead(receiver.visits.length === 1 ? 503 : 200).end();
  await world.happen(owner);
  await dispatchWebhooks(webhooks);
  await world.clock.later(6_000);
  await dispatchWebhooks(webhooks);
  const { status, attempts, deliveredAt } = await single();
  assert.deepEqual([status, attempts], ['delivered', 2]);
  assert.ok(deliveredAt);
});

test('the waits are spread by a tenth, so that a receiver that comes back is not met by everything at once', () => {
  assert.equal(
    retryAfterMs(1, () => 0),
    4_500,
  );
  assert.equal(
    retryAfterMs(1, () => 0.5),
    5_000,
  );
  assert.equal(
    retryAfterMs(10, () => 1),
    8 * HOUR + 48 * 60_000,
  );
  assert.equal(
    retryAfterMs(11, () => 0),
    undefined,
  );
});

const REFUSALS: [what: string, answer: (visit: Visit) => void, error: string, status: number | null][] = [
  [
    'redirects',
    ({ response }) => response.writeHead(307, { location: '/elsewhere' }).end(),
    'it answered 307; redirects are not followed',
    307,
  ],
  ['says 400', ({ response }) => response.writeHead(400).end('no'), 'it answered 400', 400],
  [
    'hangs up',
    ({ response }) => response.socket?.destroy(),
    'the connection was lost before the answer was whole',
    null,
  ],
];
for (const [what, answer, error, status] of REFUSALS) {
  test(`a receiver that ${what} has not accepted, and its log says so`, async () => {
    const { owner, single } = await ownEndpoint();
    receiver.answer = answer;
    await world.happen(owner);
    await dispatchWebhooks(webhooks);
    const delivery = await single();
    assert.deepEqual(
      [delivery.status, delivery.lastError, delivery.lastStatus],
      ['pending', error, status ?? undefined],
    );
    assert.equal(receiver.visits.length, 1);
  });
}

test('a receiver that is not there is one that failed', async () => {
  const gone = await startReceiver();
  await gone.close();
  const { owner, single } = await ownEndpoint(gone.url);
  await world.happen(owner);
  await dispatchWebhooks(webhooks);
  assert.equal((await single()).lastError, 'it refused the connection');
});

test('of what a receiver answers the first kilobyte is kept, however much it says and whatever it is', async () => {
  const { owner, single } = await ownEndpoint();
  let said = 0;
  receiver.answer = ({ response }) => {
    response.writeHead(200);
    response.write(`a\0b${'é'.repeat(2_000)}`);
    // It goes on for as long as somebody reads.
    const talk = () => {
      said += 100_000;
      if (response.write('x'.repeat(100_000))) setImmediate(talk);
      else response.once('drain', talk);
    };
    talk();
  };
  await world.happen(owner);
  await dispatchWebhooks(webhooks);
  const { status, log } = await single();
  assert.equal(status, 'delivered');
  assert.match(log[0]?.answer ?? '', /^a\uFFFDbé+\uFFFD?$/);
  assert.ok(Buffer.byteLength(log[0]?.answer ?? '') <= 1_030);
  // What the sockets of both sides took before ours was closed.
  assert.ok(said < 20_000_000, String(said));
});

test('a receiver that does not answer in time has failed; one that said 200 and goes on talking has not', async () => {
  const hasty = world.openProcess({ timeoutMs: 500 });
  const { owner, single } = await ownEndpoint();
  receiver.answer = () => {};
  await world.happen(owner);
  await dispatchWebhooks(hasty);
  await hasty.flights.drain();
  assert.equal((await single()).lastError, 'it did not answer in time');

  const other = await ownEndpoint();
  receiver.answer = ({ response }) => response.writeHead(200).flushHeaders();
  await world.happen(other.owner);
  await dispatchWebhooks(hasty);
  await hasty.flights.drain();
  assert.equal((await other.single()).status, 'delivered');
});

test('410 is the last word of a receiver: the endpoint is disabled and says why', async () => {
  const { owner, endpoint, single, deliveries } = await ownEndpoint();
  receiver.answer = ({ response }) => response.writeHead(410).end();
  await world.happen(owner);
  await dispatchWebhooks(webhooks);
  assert.equal((await single()).status, 'failed');
  const seen = await getEndpoint(world.database.db, owner, endpoint.id);
  assert.equal(seen.isDisabled, true);
  assert.match(seen.disabledReason ?? '', /410/);
  await world.happen(owner);
  await dispatchWebhooks(webhooks);
  assert.equal((await deliveries()).length, 1);
  assert.equal(receiver.visits.length, 1);
});

test('what is on its way to a disabled endpoint waits until it is enabled', async () => {
  const { owner, endpoint, single } = await ownEndpoint();
  const change = (isDisabled: boolean) =>
    world.database.db.transaction((tx) => updateEndpoint(tx, owner, endpoint.id, { isDisabled }));
  receiver.answer = ({ response }) => response.writeHead(500).end();
  await world.happen(owner);
  await dispatchWebhooks(webhooks);
  await change(true);
  await world.clock.later(HOUR);
  await dispatchWebhooks(webhooks);
  assert.equal(receiver.visits.length, 1);
  await change(false);
  receiver.answer = ({ response }) => response.writeHead(200).end();
  await dispatchWebhooks(webhooks);
  assert.equal((await single()).status, 'delivered');
});

test('a delivery can be replayed, delivered or failed, and has the same webhook-id', async () => {
  const { owner, single } = await ownEndpoint();
  await world.happen(owner);
  await dispatchWebhooks(webhooks);
  const { id } = await single();
  await world.database.db.transaction((tx) => replayDelivery(tx, owner, id));
  await dispatchWebhooks(webhooks);
  const again = await single();
  assert.deepEqual([again.status, again.attempts, again.log.length], ['delivered', 1, 2]);
  const [first, second] = receiver.ids();
  assert.equal(first, second);
  assert.equal(receiver.visits[0]?.body, receiver.visits[1]?.body);
});

test('what waits for its next attempt can be sent at once, but not while it is being sent', async () => {
  const { owner, single } = await ownEndpoint();
  const replay = async () => {
    const { id } = await single();
    return world.database.db.transaction((tx) => replayDelivery(tx, owner, id));
  };
  receiver.answer = ({ response }) => response.writeHead(500).end();
  await world.happen(owner);
  await dispatchWebhooks(webhooks);
  receiver.answer = () => {};
  await replay();
  const sending = dispatchWebhooks(webhooks);
  const visit = await receiver.visit(1);
  await replay();
  await dispatchWebhooks(world.openProcess());
  assert.equal(receiver.visits.length, 2);
  visit.response.writeHead(200).end();
  await sending;
  await webhooks.flights.drain();
  assert.equal((await single()).status, 'delivered');
});

test('a test delivery goes the way of every other, to endpoints that chose other events too', async () => {
  const owner = await world.newOwner();
  const endpoint = await world.newEndpoint(owner, receiver.url, ['payout.paid']);
  await world.database.db.transaction((tx) => insertTestDelivery(tx, owner, endpoint.id));
  await dispatchWebhooks(webhooks);
  const payload = verify(endpoint.secret, await receiver.visit(0));
  assert.ok(isJsonObject(payload));
  assert.equal(payload['type'], 'webhook.test');
});

test('one slow receiver, however much waits for it, holds up nobody else', async () => {
  const process = world.openProcess({ limits: { total: 6, perOrganization: 6, perEndpoint: 4 } });
  const slow = await startReceiver();
  try {
    slow.answer = () => {};
    const bad = await ownEndpoint(slow.url);
    const good = await ownEndpoint();
    for (let n = 0; n < 30; n += 1) await world.happen(bad.owner);
    for (let n = 0; n < 30; n += 1) await world.happen(good.owner);
    await dispatchWebhooks(process);
    assert.equal(receiver.visits.length, 30);
    assert.equal(slow.visits.length, 4);
    // It is still open when something new happens, which the next run sends.
    await world.happen(good.owner);
    await dispatchWebhooks(process);
    assert.equal(receiver.visits.length, 31);
    assert.equal(slow.visits.length, 4);
  } finally {
    await slow.close();
    await process.flights.drain();
  }
});

test('an organization with many slow endpoints takes no more than its share, and all of it', async () => {
  const process = world.openProcess({ limits: { total: 8, perOrganization: 6, perEndpoint: 4 } });
  const slow = await startReceiver();
  try {
    slow.answer = () => {};
    const owner = await world.newOwner();
    for (let n = 0; n < 10; n += 1) await world.newEndpoint(owner, slow.url);
    for (let n = 0; n < 5; n += 1) await world.happen(owner);
    await dispatchWebhooks(process);
    assert.equal(slow.visits.length, 6);
    const good = await ownEndpoint();
    for (let n = 0; n < 30; n += 1) await world.happen(good.owner);
    await dispatchWebhooks(process);
    assert.equal(receiver.visits.length, 30);
    assert.equal(slow.visits.length, 6);
  } finally {
    await slow.close();
    await process.flights.drain();
  }
});

test('a receiver that keeps failing is sent one at a time until it is well', async () => {
  const process = world.openProcess({ limits: { total: 100, perOrganization: 100, perEndpoint: 10 } });
  const { owner, deliveries } = await ownEndpoint();
  let most = 0;
  let open = 0;
  receiver.answer = ({ response }) => {
    most = Math.max(most, ++open);
    setImmediate(() => {
      open -= 1;
      response.writeHead(500).end();
    });
  };
  await world.happen(owner);
  await dispatchWebhooks(process);
  for (let n = 0; n < 20; n += 1) await world.happen(owner);
  await dispatchWebhooks(process);
  assert.equal(receiver.visits.length, 21);
  assert.equal(most, 1);
  assert.equal((await deliveries()).length, 21);
});

test('two processes at once deliver everything once', async () => {
  const { owner, deliveries } = await ownEndpoint();
  const [one, two] = [world.openProcess(), world.openProcess()];
  for (let n = 0; n < 100; n += 1) await world.happen(owner, { n });
  await Promise.all([dispatchWebhooks(one), dispatchWebhooks(two), dispatchWebhooks(one)]);
  const ids = receiver.ids();
  assert.equal(ids.length, 100);
  assert.equal(new Set(ids).size, 100);
  assert.ok((await deliveries()).every(({ status }) => status === 'delivered'));
});

test('a process that slept through its lease sends nothing: another has it by then', async () => {
  const { owner, single } = await ownEndpoint();
  // The lease is taken, and when it comes to sending time has passed.
  let sleptMs = 0;
  const execute = async (query: SQL) => {
    const result = await webhooks.db.execute(query);
    sleptMs += LEASE_MS;
    return result;
  };
  const sleepy: Webhooks = {
    ...webhooks,
    clock: { elapsed: () => performance.now() + sleptMs },
    db: Object.create(webhooks.db, { execute: { value: execute } }) as Webhooks['db'],
  };
  await world.happen(owner);
  await fanOut(webhooks);
  await deliverDue(sleepy);
  assert.equal(receiver.visits.length, 0);
  assert.equal((await single()).status, 'pending');
  await world.clock.later(2 * LEASE_MS);
  await dispatchWebhooks(webhooks);
  assert.equal(receiver.visits.length, 1);
});

test('what a process learns after its lease is in the log, and undoes nothing of who sent it meanwhile', async () => {
  const { owner, single } = await ownEndpoint();
  const [slow, quick] = [world.openProcess(), world.openProcess()];
  receiver.answer = () => {};
  await world.happen(owner);
  const sending = dispatchWebhooks(slow);
  const first = await receiver.visit(0);
  await world.clock.later(LEASE_MS + 1);
  receiver.answer = ({ response }) => response.writeHead(200).end();
  await dispatchWebhooks(quick);
  assert.equal((await single()).status, 'delivered');
  first.response.writeHead(500).end();
  await sending;
  await slow.flights.drain();
  const { status, attempts, log } = await single();
  assert.deepEqual([status, attempts, log.length], ['delivered', 1, 2]);
});

for (const [url, reason] of REFUSED_URLS) {
  test(`${url} is not sent to, whenever it became the URL of an endpoint`, async () => {
    const strict = world.openProcess({
      allowEndpoint: () => false,
      resolve: () => assert.fail('nothing refused is ever looked up'),
    });
    assert.equal((await strict.sender.check(url))?.reason, reason);
    assert.deepEqual(await strict.sender.send(url, {}, '{}'), {
      status: null,
      error: `its URL ${reason}`,
      answer: null,
    });
  });
}

test('a name that leads to a private address is refused when the endpoint is made and at every delivery', async () => {
  for (const addresses of [['10.0.0.1'], ['8.8.8.8', '127.0.0.1'], ['::ffff:169.254.169.254']]) {
    const strict = world.openProcess({
      allowEndpoint: () => false,
      resolve: (_, callback) =>
        callback(
          null,
          addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
        ),
    });
    const url = 'https://rebound.example/hook';
    const reason = 'must not lead to an address that is not public';
    assert.deepEqual(await strict.sender.check(url), { reason, operatorMayAllow: true });
    const { error, status } = await strict.sender.send(url, {}, '{}');
    assert.deepEqual([status, error], [null, 'its host name leads to an address that is not public']);
  }
});

test('a name that does not exist is refused when the endpoint is made; a resolver that is out of order is not the fault of the URL', async () => {
  const failing = (code: string) =>
    world.openProcess({
      allowEndpoint: () => false,
      resolve: (_, callback) => callback(Object.assign(new Error(code), { code }), []),
    });
  const url = 'https://nowhere.example/hook';
  assert.deepEqual(await failing('ENOTFOUND').sender.check(url), {
    reason: 'has a host name that cannot be found',
    operatorMayAllow: false,
  });
  assert.equal(await failing('EAI_AGAIN').sender.check(url), undefined);
});
