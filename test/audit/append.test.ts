import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import pg from 'pg';
import { receiptPayload, receiptTemplate } from '../../src/audit/receipts.ts';
import { newId } from '../../src/base/ids.ts';
import type { ReceiptTemplate } from '../../src/base/receipt.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { factsOf, hashOf } from './receipt-book.ts';

let database: TestDatabase;
let client: pg.Client;
before(async () => {
  database = await createTestDatabase();
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
});
after(async () => {
  await client.end();
  await database.close();
});

/** A resolution with the receipt it brings, if any: the number of its balance among those of the batch. */
type Order = { uuid: string; chain: number; template: ReceiptTemplate | undefined };

function orderOf(chain: number): Order {
  const callId = newId('call');
  const template = chain === 0 ? undefined : receiptTemplate(factsOf({ callId }));
  return { uuid: callId.slice('call_'.length), chain, template };
}

/** Appends as the ledger does, and answers `prev` and `seq` of each; empty for one that has no place. */
async function append(balances: bigint[], orders: Order[], codes: string): Promise<[string, string][]> {
  const { rows } = await client.query<{ places: string }>(
    'SELECT receipts_append($1, $2, $3, $4, $5, $6) AS places',
    [
      orders.map(({ uuid }) => uuid),
      balances,
      orders.map(({ chain }) => chain),
      orders.map(({ template }) => template?.before ?? null),
      orders.map(({ template }) => template?.after ?? null),
      codes,
    ],
  );
  const [prevs = [], seqs = []] = (rows[0]?.places ?? '').split('\n').map((line) => line.split(','));
  assert.equal(prevs.length, seqs.length);
  return prevs.map((prev, index) => [prev, seqs[index] ?? '']);
}

async function payloadOf({ uuid }: Order): Promise<string | undefined> {
  const { rows } = await client.query<{ payload: string }>(
    'SELECT payload FROM receipts WHERE call_id = $1',
    [uuid],
  );
  return rows[0]?.payload;
}

const ZEROS = '0'.repeat(64);
const NOWHERE = ['', ''];

test('the receipts of a batch go to the chains of their balances, in the order of the batch', async () => {
  const first = [orderOf(1), orderOf(0), orderOf(2), orderOf(1)];
  const places = await append([1n, 2n], first, '1111');
  const filed: (string | undefined)[] = [];
  for (const order of first) filed.push(await payloadOf(order));
  const [one, , two, last] = filed;
  assert.deepEqual(places, [[ZEROS, '1'], NOWHERE, [ZEROS, '1'], [hashOf(one), '2']]);
  assert.deepEqual(
    filed,
    first.map(({ template }, index) => {
      const [prev, seq] = places[index] ?? ['', ''];
      return template && receiptPayload(template, { prev, seq });
    }),
  );

  // The balances of a batch are numbered as they come, and the codes of its holds follow its own.
  const second = [orderOf(1), orderOf(2)];
  assert.deepEqual(await append([2n, 1n], second, '11d1'), [
    [hashOf(two), '2'],
    [hashOf(last), '3'],
  ]);
});

test('only what the batch itself resolved is written, and a batch that is sent again is told what it wrote', async () => {
  const orders = ['1', '3', '0', '1', '5', '4'].map(() => orderOf(1));
  const places = await append([3n], orders, '130154');
  const payload = await payloadOf(orders[0] as Order);
  assert.deepEqual(places, [[ZEROS, '1'], NOWHERE, NOWHERE, [hashOf(payload), '2'], NOWHERE, NOWHERE]);
  assert.equal(await payloadOf(orders[1] as Order), undefined);

  const more = [orderOf(1), ...orders, orderOf(1)];
  const again = await append([3n], more, '12302541');
  const last = await payloadOf(orders[3] as Order);
  const fresh = await payloadOf(more[0] as Order);
  assert.deepEqual(again, [[hashOf(last), '3'], ...places, [hashOf(fresh), '4']]);
});

test('a receipt of a hold that was resolved another way is not told as this one', async () => {
  const order = orderOf(1);
  await append([5n], [order], '1');
  assert.deepEqual(await append([5n], [order, orderOf(1)], '31'), [
    NOWHERE,
    [hashOf(await payloadOf(order)), '2'],
  ]);
});

test('a balance none of whose receipts is written keeps its chain as it is', async () => {
  await append([6n, 7n, 8n], [orderOf(1), orderOf(2), orderOf(3)], '111');
  await append([6n, 7n, 8n], [orderOf(1), orderOf(2), orderOf(3)], '101');
  const { rows } = await client.query<{ ends: string[] }>(
    'SELECT array_agg(seq ORDER BY account_id) AS ends FROM receipt_chains WHERE account_id IN (6, 7, 8)',
  );
  assert.deepEqual(rows[0]?.ends, ['2', '1', '2']);
});

test('a batch without receipts writes none', async () => {
  assert.deepEqual(await append([], [orderOf(0)], '1'), [NOWHERE]);
  assert.deepEqual(await append([4n], [orderOf(1)], '0'), [NOWHERE]);
  const { rows } = await client.query('SELECT FROM receipt_chains WHERE account_id = 4');
  assert.equal(rows.length, 0);
});
