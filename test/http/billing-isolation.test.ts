import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { publishProof } from '../../src/audit/proofs.ts';
import { newId } from '../../src/base/ids.ts';
import { startSeller, manifestOf, type TestSeller } from '../support/gateway.ts';
import { testKey } from '../support/signing.ts';
import { startStripe } from '../support/stripe.ts';
import { listRoutes, type Route } from './openapi-samples.ts';
import { startRestGateway, type Answer, type Member } from './rest-gateway.ts';
import { ALL_SCOPES, openTenant, type Tenant } from './tenant.ts';

/*
 * Every billing route × every role. The routes come from the OpenAPI document, so one that is added is tried
 * with everything here before anybody thinks of it.
 */
const stripe = await startStripe();
const rest = await startRestGateway({ stripe: stripe.options });
const routes = (await listRoutes(rest)).filter(isBilling);
let seller: TestSeller;
let tenant: Tenant;
let stranger: Member;
let strangeTrial: Member;

before(async () => {
  seller = await startSeller(({ text }) => (text === 'fail' ? { wrong: true } : { text }));
  const pricing = { model: 'per_call', credits_per_call: '5.123457' } as const;
  await rest.publish(manifestOf('alpha', seller.url, { pricing }), 90);
  tenant = await openTenant(rest, seller);
  const { db } = rest.gateway.database;
  await publishProof({ db, issuer: rest.url, key: testKey });
  stranger = await rest.newMember('500', { scopes: ALL_SCOPES });
  strangeTrial = await rest.newKey(stranger.organizationId, { scopes: ALL_SCOPES, currency: 'test' });
});
after(async () => {
  await rest.close();
  await seller.close();
  await stripe.close();
});

/** With a key, about money or who is told of it. Stripe's own webhook has a signature instead. */
function isBilling({ path, scope }: Route): boolean {
  return scope !== undefined && (path.startsWith('/v1/billing/') || scope.startsWith('billing:'));
}

const reads = ({ method }: Route): boolean => method === 'GET';
const nameOf = ({ method, path }: Route): string => `${method} ${path}`;
// What a statement needs to be one at all.
const QUERY: Record<string, string> = { month: new Date().toISOString().slice(0, 7) };

function ask(
  route: Route,
  member: Member | undefined,
  id: string,
  query: Record<string, string> = {},
): Promise<Answer> {
  const path = route.path.replace(/\{\w+\}/g, id);
  const needed = Object.entries({ ...QUERY, ...query }).filter(([name]) => route.query.includes(name));
  const search = needed.length === 0 ? '' : `?${new URLSearchParams(needed).toString()}`;
  return rest.send(route.method, path + search, {
    ...(member ? { key: member.key } : {}),
    body: route.sampleBody(id),
    headers: { 'x-request-id': 'same', 'idempotency-key': tenant.idempotencyKey },
  });
}

const weakKeys = new Map<string | undefined, Promise<Member>>();
/** A key of the tenant that lacks this one scope. */
function keyWithout(scope: string | undefined): Promise<Member> {
  const scopes = ALL_SCOPES.filter((each) => each !== scope);
  const key = weakKeys.get(scope) ?? rest.newKey(tenant.live.organizationId, { scopes });
  weakKeys.set(scope, key);
  return key;
}

/** Without what was asked with: that it is repeated tells nobody anything. */
function textOf(answer: Answer, asked: string): string {
  return bare(answer.text).replaceAll(bare(asked), '…');
}

/** Ids are told by their digits, whether PostgreSQL or we wrote them. */
const bare = (text: string): string => text.replaceAll('-', '').replace(/\b[a-z]{3,4}_(?=[0-9a-f]{32})/g, '');

/** What of the tenant is in the text. */
function found(text: string, marks: readonly string[]): string[] {
  return marks.filter((mark) => bare(text).includes(bare(mark)));
}

/** An id of the same kind that nothing has. */
const strangerTo = (id: string): string => `${id.slice(0, id.indexOf('_'))}_${newId('req').slice(4)}`;

/**
 * Every row of the database that is the tenant's, as text: those that name it or something of it, or one of its
 * accounts and meters. A row about everybody is not: the daily proof, and how far the journal was followed.
 */
async function rowsOf(marks: readonly string[], currencies: readonly string[]): Promise<string[]> {
  const { pool } = rest.gateway.database;
  const { rows: tables } = await pool.query<{ name: string }>(
    `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('proofs', 'proof_chains')`,
  );
  const all = await pool.query<{ name: string; row: Record<string, unknown> }>(
    tables
      .map(({ name }) => `SELECT '${name}' AS name, to_jsonb(t) AS row FROM "${name}" t`)
      .join(' UNION ALL '),
  );
  const accounts = all.rows
    .filter(
      ({ name, row }) => name === 'ledger_accounts' && row['organization_id'] === tenant.live.organizationId,
    )
    .filter(({ row }) => currencies.includes(String(row['currency'])));
  const accountIds = new Set<unknown>(accounts.map(({ row }) => row['id']));
  const meterIds = new Set<unknown>(
    all.rows
      .filter(
        ({ name, row }) =>
          accounts.some((each) => each.row === row) || (name === 'api_keys' && isMarked(row)),
      )
      .map(({ row }) => row['meter_id'])
      .filter((id) => id !== null && id !== undefined),
  );
  function isMarked(row: Record<string, unknown>): boolean {
    return found(JSON.stringify(row), marks).length > 0;
  }
  const ACCOUNT_COLUMNS = ['account_id', 'debit', 'credit', 'buyer', 'seller'];
  return all.rows
    .filter(
      ({ name, row }) =>
        isMarked(row) ||
        ACCOUNT_COLUMNS.some((column) => accountIds.has(row[column])) ||
        (name === 'ledger_accounts' && accountIds.has(row['id'])) ||
        (name === 'spend_meters' && meterIds.has(row['id'])) ||
        (name === 'budget_notices' && meterIds.has(row['meter_id'])),
    )
    .map(({ name, row }) => `${name} ${JSON.stringify(row)}`)
    .sort();
}

/** The ids a route can be asked about: each of the tenant's where its path or body has room for one. */
function targetsOf(route: Route): string[] {
  const wantsId = route.parameters.length > 0 || JSON.stringify(route.sampleBody('?') ?? '').includes('"?"');
  return wantsId ? tenant.ids : [tenant.ids[0] ?? ''];
}

async function assertShutOut(
  route: Route,
  member: Member,
  marks: readonly string[],
  currencies: string[],
): Promise<void> {
  const before = await rowsOf(marks, currencies);
  assert.ok(before.length > 10, 'the tenant has something to lose');
  for (const id of targetsOf(route)) {
    const theirs = await ask(route, member, id);
    assert.ok(theirs.status < 500 || theirs.status === 503, `${theirs.status} ${theirs.text}`);
    assert.deepEqual(found(textOf(theirs, id), marks), [], `${nameOf(route)} with ${id} tells of the tenant`);
    if (route.parameters.length === 0) continue;
    const missing = strangerTo(id);
    const none = await ask(route, member, missing);
    assert.equal(theirs.status, none.status);
    assert.equal(textOf(theirs, id), textOf(none, missing), 'missing and not yours answer the same');
    assert.ok(theirs.status >= 400, `${nameOf(route)} of what is not theirs was ${theirs.status}`);
  }
  for (const [name, words] of Object.entries(route.choices)) {
    for (const word of words) {
      const answer = await ask(route, member, tenant.ids[0] ?? '', { [name]: word });
      assert.deepEqual(
        found(textOf(answer, tenant.ids[0] ?? ''), marks),
        [],
        `${nameOf(route)}?${name}=${word}`,
      );
    }
  }
  // What can be filtered by an id finds nothing of another's.
  for (const name of route.query.filter(
    (each) => each === 'key' || each === 'cursor' || each.endsWith('_id'),
  )) {
    for (const id of tenant.ids) {
      const answer = await ask(route, member, id, { [name]: id });
      assert.deepEqual(found(textOf(answer, id), marks), [], `${nameOf(route)}?${name}=${id}`);
    }
  }
  assert.deepEqual(await rowsOf(marks, currencies), before, `${nameOf(route)} changed what is the tenant's`);
}

const everything = (): string[] => [
  tenant.live.organizationId,
  tenant.trial.keyId,
  ...tenant.ids,
  ...tenant.words,
  ...tenant.amounts,
];

test('there are billing routes, reading and writing, and of things with an id', () => {
  assert.ok(routes.length >= 40, String(routes.length));
  assert.ok(routes.filter(reads).length >= 15);
  assert.ok(routes.filter(({ parameters }) => parameters.length > 0).length >= 10);
});

describe('a request without a key is refused', () => {
  for (const route of routes) {
    test(nameOf(route), async () => {
      assert.equal((await ask(route, undefined, tenant.ids[0] ?? '')).status, 401);
    });
  }
});

describe('a key of the organization itself is refused when it lacks the scope', () => {
  for (const route of routes) {
    test(nameOf(route), async () => {
      const weak = await keyWithout(route.scope);
      const marks = tenant.ids;
      const before = await rowsOf(marks, ['live']);
      for (const id of targetsOf(route)) {
        const answer = await ask(route, weak, id);
        assert.deepEqual([answer.status, answer.body.code], [403, 'FORBIDDEN']);
      }
      assert.deepEqual(await rowsOf(marks, ['live']), before);
    });
  }
});

// The balance tells of both currencies, each by itself, and the proof sums up everybody.
const TELLS_AMOUNTS = ['/v1/billing/balance', '/v1/billing/proof'];
const marksFor = ({ path }: Route): string[] =>
  everything().filter((mark) => !(path === '/v1/billing/proof' && tenant.amounts.includes(mark)));

describe('another organization reads nothing and changes nothing', () => {
  for (const route of routes.filter(({ scope }) => scope !== 'operator')) {
    test(nameOf(route), () => assertShutOut(route, stranger, marksFor(route), ['live', 'test']));
    test(`${nameOf(route)} with a test key`, () =>
      assertShutOut(route, strangeTrial, marksFor(route), ['live', 'test']));
  }
});

describe('a test key of the same organization reads and changes nothing that is live', () => {
  for (const route of routes.filter(({ scope }) => scope !== 'operator')) {
    test(nameOf(route), () => {
      const amounts = TELLS_AMOUNTS.includes(route.path) ? [] : tenant.amounts;
      return assertShutOut(route, tenant.trial, [...tenant.ids, ...tenant.words, ...amounts], ['live']);
    });
  }
});

describe('an operator is let in everywhere, and reads only what the operator may decide', () => {
  for (const route of routes.filter(reads)) {
    test(nameOf(route), async () => {
      const { status } = await ask(route, rest.operator, tenant.ids[0] ?? '');
      assert.ok(status !== 401 && status !== 403 && status < 500, String(status));
    });
  }
  for (const route of routes.filter((each) => reads(each) && each.parameters.length === 0)) {
    test(`${nameOf(route)} lists the operator's own`, async () => {
      const { text } = await ask(route, rest.operator, '');
      assert.deepEqual(found(text, marksFor(route)), []);
    });
  }
});

test('what the tenant has is in its own lists, so that it could have been in the answers above', async () => {
  const lists = routes.filter((each) => reads(each) && each.parameters.length === 0);
  const seen = await Promise.all(lists.map((route) => ask(route, tenant.live, '')));
  // What was sold is disputed, and a disputed call is in the list of the seller's disputes.
  const sold = await rest.send('GET', '/v1/billing/disputes?role=seller', { key: tenant.live.key });
  const text = bare([...seen, sold].map((answer) => answer.text).join(' '));
  // Deliveries are listed by webhook.
  const listed = tenant.ids.filter((id) => !id.startsWith('whd_'));
  assert.deepEqual(
    listed.filter((id) => !text.includes(bare(id))),
    [],
  );
});

// Last, because it changes and, at the very end, deletes: were nothing found here, being shut out above would say
// nothing.
describe('the organization itself finds what is its own', () => {
  const deletesLast = (a: Route, b: Route): number =>
    Number(a.method === 'DELETE') - Number(b.method === 'DELETE');
  const own = routes.filter(({ scope }) => scope !== 'operator').toSorted(deletesLast);
  for (const route of own.filter(({ parameters }) => parameters.length > 0)) {
    test(nameOf(route), async () => {
      const statuses: number[] = [];
      for (const id of tenant.ids) statuses.push((await ask(route, tenant.live, id)).status);
      assert.ok(
        statuses.some((status) => status < 300 || status === 409),
        statuses.join(' '),
      );
    });
  }
  for (const route of own.filter((each) => reads(each) && each.parameters.length === 0)) {
    test(nameOf(route), async () => {
      const { status, text } = await ask(route, tenant.live, tenant.ids[0] ?? '');
      assert.equal(status, 200, text);
    });
  }
});
