import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { openBooks, readFunction, type Books } from './books.ts';
import { commands, playCommands } from './model.ts';
import { playRow, ROWS } from './rows.ts';

/** One mistake somebody could make in the ledger's SQL: this text, once, becomes that one. */
type Mutant = { title: string; of?: string; from: string; to: string };

const MUTANTS: Mutant[] = [
  {
    title: 'a hold of one more than there is fits',
    from: 'IF r.amount > v_available OR',
    to: 'IF r.amount > v_available + 1 OR',
  },
  {
    title: 'the fast path lets one too much through',
    from: '+ c.posted - c.held >= c.need)',
    to: '+ c.posted - c.held >= c.need - 1)',
  },
  {
    title: 'one comparison per buyer lets one too much through',
    from: 'a.posted - a.held < n.need;',
    to: 'a.posted - a.held < n.need - 1;',
  },
  {
    title: 'a hold of all there is does not fit',
    from: 'IF r.amount > v_available OR',
    to: 'IF r.amount >= v_available OR',
  },
  {
    title: 'other holds are not counted against the balance',
    from: 'a.posted - a.held < n.need;',
    to: 'a.posted < n.need;',
  },
  {
    title: 'other holds are not counted against the balance on the fast path',
    from: 'AND a.posted - a.held + c.posted',
    to: 'AND a.posted + c.posted',
  },
  {
    title: 'an accepted hold leaves the next one everything',
    from: 'v_available := v_available - r.amount;',
    to: 'v_available := v_available;',
  },
  {
    title: 'what the batch itself charges is forgotten',
    from: 'a.posted - a.held + c.posted - c.held',
    to: 'a.posted - a.held - c.held',
  },
  {
    title: 'what does not exist is no obstacle on the fast path',
    from: 'cardinality(v_fits) = cardinality(v_changes) AND ',
    to: '',
  },
  {
    title: 'the room of one buyer is enough for all',
    from: 'true = ALL (v_fits)',
    to: 'true = ANY (v_fits)',
  },
  {
    title: 'a batch that is sent again is taken for a new one',
    from: 'NOT p_retry AND NOT v_metered',
    to: 'NOT v_metered',
  },
  {
    title: 'the caps of a key are not looked at while its balance has room',
    from: 'NOT p_retry AND NOT v_metered',
    to: 'NOT p_retry',
  },
  {
    title: 'a budget is not looked at while its balance has room',
    from: '(a.meter_id IS NULL AND ',
    to: '(',
  },
  {
    title: 'a hold forgets its idempotency key while the balance has room',
    from: 'AND cardinality(i_ord) = 0\n',
    to: '\n',
  },
  {
    title: 'holds are held before they are decided',
    from: 'CASE WHEN v_placed THEN coalesce(c.need, 0) ELSE 0 END',
    to: 'coalesce(c.need, 0)',
  },
  {
    title: 'holds that all fit are not held',
    from: 'CASE WHEN v_placed THEN coalesce(c.need, 0) ELSE 0 END',
    to: '0',
  },
  {
    title: 'what is resolved stays on hold',
    from: 'held = a.held + c.held + CASE',
    to: 'held = a.held + CASE',
  },
  {
    title: 'what is resolved is paid by nobody',
    from: 'SET posted = a.posted + c.posted,',
    to: 'SET posted = a.posted,',
  },
  {
    title: 'holds are placed before they are decided',
    from: 'IF v_placed THEN\n',
    to: 'IF true THEN\n',
  },
  {
    title: 'what was not resolved is told as done while the holds fit',
    from: 'IF cardinality(v_done) = cardinality(s_id) AND',
    to: 'IF true AND',
  },
  {
    title: 'what was not resolved is told as done',
    from: 'IF cardinality(v_done) < cardinality(s_id) THEN',
    to: 'IF false THEN',
  },
  {
    title: 'meters get nothing back while the holds fit',
    from: ' AND cardinality(v_givebacks) = 0 THEN',
    to: ' THEN',
  },
  {
    title: 'holds that were placed at once are placed again',
    from: 'IF v_placed THEN RETURN',
    to: 'IF false THEN RETURN',
  },
  {
    title: 'an expired hold can be settled',
    from: ` AND (s_kind[i] <> 'settle' OR h.expires_at > v_now)`,
    to: '',
  },
  {
    title: 'an expired hold cannot be refunded',
    from: `(s_kind[i] <> 'settle' OR h.expires_at > v_now)`,
    to: '(h.expires_at > v_now)',
  },
  { title: 'more than the hold can be charged', from: 's_charge[i] <= h.amount AND ', to: '' },
  {
    title: 'only what was charged is released',
    from: 'SELECT buyer AS account, -charge AS posted, -amount AS held',
    to: 'SELECT buyer AS account, -charge AS posted, -charge AS held',
  },
  {
    title: 'the buyer is not charged',
    from: 'SELECT buyer AS account, -charge AS posted,',
    to: 'SELECT buyer AS account, 0 AS posted,',
  },
  {
    title: 'the platform gets no fee',
    from: '      UNION ALL SELECT fees, fee, 0::bigint, NULL::bigint FROM resolved WHERE fee > 0\n',
    to: '',
  },
  {
    title: 'the seller gets the fee as well',
    from: 'SELECT seller, charge - fee, 0',
    to: 'SELECT seller, charge, 0',
  },
  {
    title: 'the seller waits for more than the fee',
    from: 'WHERE charge > fee\n',
    to: 'WHERE charge > fee + 1\n',
  },
  {
    title: 'one leg a seller, however many calls',
    from: 'ROW (account, sum_micros(posted), ',
    to: 'ROW (account, max(posted), ',
  },
  {
    title: 'the largest hold of a buyer is all it needs',
    from: 'sum_micros(need))::ledger_change',
    to: 'max(need))::ledger_change',
  },
  {
    title: 'a second resolution the other way is told as done',
    from: `CASE WHEN j.kind = w.kind AND j.amount = w.charge THEN '2' ELSE '3' END`,
    to: `'2'`,
  },
  {
    title: 'a second settle with another charge is told as done',
    from: 'j.kind = w.kind AND j.amount = w.charge',
    to: 'j.kind = w.kind',
  },
  { title: 'a retried hold is placed again', from: 'IF p_retry THEN', to: 'IF false THEN' },
  {
    title: 'a retried hold that was resolved is placed again',
    from: 'WHERE o.id IS NOT NULL OR j.id IS NOT NULL',
    to: 'WHERE o.id IS NOT NULL',
  },
  {
    title: 'an id used for another amount is taken for the same hold',
    from: 'coalesce(o.amount, j.held) = w.amount AS same',
    to: 'true AS same',
  },
  {
    title: "an id used for another buyer's hold is taken for the same",
    from: 'coalesce(o.buyer, j.debit) = w.buyer AND coalesce',
    to: 'coalesce',
  },
  {
    title: 'a refund does not free its idempotency key',
    from: 'WHERE k.call_id = g.refunded',
    to: 'WHERE false',
  },
  {
    title: 'a refund without meters does not free its idempotency key',
    from: ` OR (h.keyed AND s_kind[i] <> 'settle') THEN`,
    to: ' THEN',
  },
  {
    title: 'a settle on a meter frees its idempotency key',
    from: `CASE WHEN h.keyed AND s_kind[i] <> 'settle' THEN h.id END`,
    to: 'CASE WHEN h.keyed THEN h.id END',
  },
  {
    title: 'a taken idempotency key is no obstacle',
    from: `v_codes[r.ord] := 'k';`,
    to: 'NULL;',
  },
  { title: 'a claim is taken over while it is valid', from: 'WHERE k.expires_at <= v_now;', to: ';' },
  {
    title: 'a claim is never free again',
    from: 'WHERE k.expires_at <= v_now;',
    to: 'WHERE false;',
  },
  {
    title: 'a refused hold keeps its claim',
    from: `v_codes[i.ord] NOT IN ('1', '2', 'k')`,
    to: 'false',
  },
  {
    title: 'a retried hold loses its claim',
    from: `v_codes[i.ord] NOT IN ('1', '2', 'k')`,
    to: `v_codes[i.ord] <> '1'`,
  },
  {
    title: 'a refund gives nothing back to meters',
    from: 'h.amount - s_charge[i],',
    to: '0::bigint,',
  },
  {
    title: 'the whole hold goes back to meters, charged or not',
    from: 'h.amount - s_charge[i],',
    to: 'h.amount,',
  },
  {
    title: 'a refund gives nothing back to the first meter of a hold',
    from: 'SELECT unnest(meters) AS meter, unnest(counted_on) AS counted_on, amount FROM unnest(v_givebacks)',
    to: 'SELECT unnest(meters[2:]) AS meter, unnest(counted_on[2:]) AS counted_on, amount FROM unnest(v_givebacks)',
  },
  {
    title: 'a refund gives back to the first meter of a hold alone',
    from: 'SELECT unnest(meters) AS meter, unnest(counted_on) AS counted_on, amount FROM unnest(v_givebacks)',
    to: 'SELECT unnest(meters[:1]) AS meter, unnest(counted_on[:1]) AS counted_on, amount FROM unnest(v_givebacks)',
  },
  {
    title: 'a hold is given back to the budget where the key counted it',
    from: 'unnest(counted_on) AS counted_on, amount',
    to: 'counted_on[1] AS counted_on, amount',
  },
  {
    title: 'what another day counted is given back to this one',
    from: 'FILTER (WHERE g.counted_on = w.day)',
    to: '',
  },
  {
    title: 'what another month counted is given back to this one',
    from: `FILTER (WHERE date_trunc('month', g.counted_on) = date_trunc('month', w.day))`,
    to: '',
  },
  {
    title: 'a hold is given back where our clock says, not where it was counted',
    from: 'array_agg(m.day ORDER BY w.nth = 0, w.nth) AS counted_on',
    to: 'array_agg(v_today ORDER BY w.nth = 0, w.nth) AS counted_on',
  },
  { title: 'a new day does not begin anew', from: '        used_day = 0,\n', to: '' },
  { title: 'no day ever begins anew', from: 'IF v_stale THEN', to: 'IF false THEN' },
  {
    title: 'a new day begins a new month',
    from: `WHEN date_trunc('month', day) < date_trunc('month', v_today) THEN 0`,
    to: 'WHEN true THEN 0',
  },
  {
    title: 'a new month does not begin anew',
    from: `WHEN date_trunc('month', day) < date_trunc('month', v_today) THEN 0`,
    to: 'WHEN false THEN 0',
  },
  {
    title: 'the day cap is not looked at on the fast path',
    from: 'm.used_day + n.need > m.cap_day OR m.used_month',
    to: 'm.used_month',
  },
  {
    title: 'the month cap can be passed by one',
    from: 'm.used_month + n.need > m.cap_month',
    to: 'm.used_month + n.need > m.cap_month + 1',
  },
  {
    title: 'the total cap is not looked at where holds are contested',
    from: 'v_meter.used_total + r.amount > v_meter.cap_total THEN 1',
    to: 'false THEN 1',
  },
  {
    title: 'the total cap is not looked at on the fast path',
    from: `OR m.used_total + n.need > m.cap_total;`,
    to: ';',
  },
  ...(['total', 'month', 'day'] as const).map((cap, index) => ({
    title: `the ${cap} cap can be passed by one where holds are contested`,
    from: `v_meter.used_${cap} + r.amount > v_meter.cap_${cap} THEN ${index + 1}`,
    to: `v_meter.used_${cap} + r.amount > v_meter.cap_${cap} + 1 THEN ${index + 1}`,
  })),
  {
    title: 'a budget is told as the meter of a key',
    from: `WHEN r.nths[k] = 0 THEN 'TMD'`,
    to: `WHEN r.nths[k] = 0 THEN 'tmd'`,
  },
  {
    title: 'the second meter of a hold is told as the first',
    from: `WHEN r.nths[k] = 1 THEN 'tmd'`,
    to: `WHEN r.nths[k] > 0 THEN 'tmd'`,
  },
  {
    title: 'the third meter of a hold is told as the second',
    from: 'chr(186 + 3 * r.nths[k])',
    to: 'chr(192)',
  },
  {
    title: 'no balance has a budget',
    from: 'IF v_budgeted AND cardinality(h_id) > 0 THEN',
    to: 'IF false THEN',
  },
  {
    title: 'a budget is looked at only where a key has caps as well',
    from: '  IF v_metered OR v_budgeted THEN',
    to: '  IF v_metered THEN',
  },
  {
    title: 'a budget begins anew only where a key has caps as well',
    from: 'IF v_metered OR v_budgeted OR cardinality(v_givebacks) > 0 THEN',
    to: 'IF v_metered OR cardinality(v_givebacks) > 0 THEN',
  },
  {
    title: 'the windows of a budget never begin anew',
    from: 'v_meters := c_meter ||',
    to: 'v_meters := m_meter ||',
  },
  {
    title: 'a hold is given back to the budget where our clock says, not where it was counted',
    from: 'array_agg(m.day ORDER BY w.nth = 0, w.nth) AS counted_on',
    to: 'array_agg(CASE WHEN w.nth = 0 THEN v_today ELSE m.day END ORDER BY w.nth = 0, w.nth) AS counted_on',
  },
  {
    title: 'only the last meter of a hold decides',
    from: 'EXIT WHEN v_code IS NOT NULL;',
    to: '',
  },
  {
    title: 'a contested hold is not counted on its budget',
    from: 'WHERE id = ANY (r.meters);',
    to: 'WHERE id = r.meters[1];',
  },
  {
    title: 'a contested hold is counted on the budget alone',
    from: 'WHERE id = ANY (r.meters);',
    to: 'WHERE id = r.meters[cardinality(r.meters)];',
  },
  {
    title: 'a contested hold is not counted on its meter',
    from: `        IF v_code = '1' THEN\n          UPDATE spend_meters`,
    to: `        IF false THEN\n          UPDATE spend_meters`,
  },
  {
    title: 'an uncontested hold is counted twice on its meter',
    from: ' AND NOT h_buyer[c.ord] = ANY (v_contested)',
    to: '',
  },
  {
    title: 'refused holds are placed',
    from: `WHERE v_codes[i] = '1';`,
    to: `WHERE v_codes[i] IN ('1', '0');`,
  },
  {
    title: 'a hold is not held',
    from: 'SELECT buyer, sum_micros(amount) AS held FROM unnest',
    to: 'SELECT buyer, 0 AS held FROM unnest',
  },
  {
    title: 'holds come before resolutions in what a buyer can spend',
    from: 'ORDER BY w.buyer, w.ord',
    to: 'ORDER BY w.buyer, w.ord DESC',
  },
  {
    title: 'a leg to nowhere is dropped silently',
    from: 'IF v_missing THEN',
    to: 'IF false THEN',
  },
  {
    title: 'the sweeper takes holds that are not expired',
    of: 'ledger_expire',
    from: 'h.expires_at <= clock_timestamp()',
    to: 'true',
  },
  {
    title: 'the sweeper takes more than it was told to',
    of: 'ledger_expire',
    from: 'LIMIT p_limit',
    to: 'LIMIT p_limit + 1',
  },
  {
    title: 'a transfer is made twice',
    of: 'ledger_transfer',
    from: 'UPDATE ledger_accounts SET posted = posted + p_amount',
    to: 'UPDATE ledger_accounts SET posted = posted + p_amount * 2',
  },
];

let books: Books;
before(async () => {
  books = await openBooks();
});
after(() => books.close());

describe('the checks notice every seeded mistake in the SQL', () => {
  test('and have nothing to say about the function as it is', async () => {
    assert.equal(await findFault(), undefined);
  });

  for (const mutant of MUTANTS) {
    test(mutant.title, async () => {
      const original = await readFunction(mutant.of ?? 'ledger_apply');
      assert.equal(original.split(mutant.from).length, 2, 'the text to change is there once');
      await books.client.query(original.replace(mutant.from, () => mutant.to));
      try {
        assert.notEqual(await findFault(), undefined, 'nothing noticed it');
      } finally {
        await books.client.query(original);
        // A mutant may leave what the next check would stumble over.
        await books.client.query('TRUNCATE ledger_holds, idempotency_keys');
      }
    });
  }
});

/** The first row or history that does not end as it should. */
async function findFault(): Promise<string | undefined> {
  try {
    for (const row of ROWS) await playRow(books, row);
    await payStranger();
    await fc.assert(
      fc.asyncProperty(commands, (wanted) => playCommands(books, wanted)),
      { numRuns: 60, seed: 20_260_101, endOnFailure: true },
    );
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** A leg to an account that does not exist must stop the statement, and not vanish. */
async function payStranger(): Promise<void> {
  const world = await books.openWorld([10n]);
  const id = 'f'.repeat(32);
  const hold = [{ id, buyer: world.buyers[0] ?? 0n, amount: 5n, seller: 9_000_000_000n }];
  assert.equal((await books.apply(world, { isRetry: false, resolve: [], hold })).hold, '1');
  const resolve = [{ id, kind: 'settle' as const, charge: 5n, fee: 0n }];
  await assert.rejects(books.apply(world, { isRetry: false, resolve, hold: [] }), { code: '23503' });
  const refund = [{ id, kind: 'refund' as const, charge: 0n, fee: 0n }];
  // The journal keeps the id: the next time it is another stranger's.
  await books.client.query('DELETE FROM ledger_holds WHERE id = $1', [id]);
  await books.client.query('UPDATE ledger_accounts SET held = 0 WHERE id = $1', [world.buyers[0]]);
  assert.equal((await books.apply(world, { isRetry: false, resolve: refund, hold: [] })).resolve, '0');
}
