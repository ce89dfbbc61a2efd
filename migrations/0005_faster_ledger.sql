-- The same ledger for less of the server's work. A list of words in a CHECK becomes one constant: PostgreSQL reads
-- the CHECKs of a table from their text for every statement that writes a row.
ALTER TABLE "ledger_accounts" DROP CONSTRAINT "accounts_currency_is_known";--> statement-breakpoint
ALTER TABLE "ledger_accounts" DROP CONSTRAINT "accounts_kind_is_known";--> statement-breakpoint
ALTER TABLE "ledger_journal" DROP CONSTRAINT "journal_kind_is_known";--> statement-breakpoint
ALTER TABLE "ledger_journal" DROP CONSTRAINT "journal_settles_at_most_the_hold";--> statement-breakpoint
ALTER TABLE "ledger_journal" DROP CONSTRAINT "journal_refunds_charge_nothing";--> statement-breakpoint
ALTER TABLE "ledger_accounts" ADD CONSTRAINT "accounts_currency_is_known" CHECK ("ledger_accounts"."currency" = any ('{live,test}'::text[]));--> statement-breakpoint
ALTER TABLE "ledger_accounts" ADD CONSTRAINT "accounts_kind_is_known" CHECK ("ledger_accounts"."kind" = any ('{balance,frozen,earnings,payable,disputed,fees,funding}'::text[]));--> statement-breakpoint
ALTER TABLE "ledger_journal" ADD CONSTRAINT "journal_kind_is_known" CHECK ("ledger_journal"."kind" = any ('{settle,refund,expire,grant,top_up,freeze,unfreeze,top_up_reversal,top_up_restored,release,dispute,dispute_rejected,reversal,fee_reversal,payout,payout_returned}'::text[]));--> statement-breakpoint
ALTER TABLE "ledger_journal" ADD CONSTRAINT "journal_settles_at_most_the_hold" CHECK ("ledger_journal"."kind" <> all ('{settle,refund,expire}'::text[]) or "ledger_journal"."amount" <= "ledger_journal"."held");--> statement-breakpoint
ALTER TABLE "ledger_journal" ADD CONSTRAINT "journal_refunds_charge_nothing" CHECK ("ledger_journal"."kind" <> all ('{refund,expire}'::text[]) or "ledger_journal"."amount" = 0);--> statement-breakpoint
DROP FUNCTION ledger_expire_batch(ledger_holds[]);--> statement-breakpoint
DROP FUNCTION ledger_apply;--> statement-breakpoint
DROP FUNCTION receipts_append;--> statement-breakpoint

-- A sum of micro-credits: a bigint, or an error where it does not fit. The built-in `sum` of bigints is a numeric,
-- and to set that up costs more than all a batch has to add.
CREATE AGGREGATE sum_micros(bigint) (SFUNC = int8pl, STYPE = bigint, COMBINEFUNC = int8pl, PARALLEL = SAFE);--> statement-breakpoint

-- What one batch has to do with one account: what its resolutions change, and what its new holds come to, null
-- where it has none.
CREATE TYPE ledger_change AS (account bigint, posted bigint, held bigint, need bigint);--> statement-breakpoint

-- What a resolved hold gives back: what was not charged of it to the meters that counted it, each on the day it
-- did; and by `refunded`, the call's id, the idempotency key the call had.
CREATE TYPE ledger_giveback AS (meter bigint, metered_on date, budget bigint, budgeted_on date, amount bigint, refunded uuid);--> statement-breakpoint

-- Applies one batch: first the resolutions of open holds, then new holds, each decided on its own in the
-- order it arrived. Answers one character for each, the resolutions first.
--
--   resolution  1 done now   2 was done before, the same way   3 was resolved another way
--               4 the charge is above the hold                 5 the hold expired: it can only be refunded
--               0 no such hold ever
--   hold        1 placed     2 was placed before               3 the id was used for another hold
--               0 not enough credits   d m t  the key's day, month or total cap   D M T  the whole balance's
--               k the idempotency key is taken
--
-- Every batch takes its row locks in one order (holds, idempotency keys, accounts by id, meters by id), so
-- concurrent batches queue up and do not deadlock. A lock wait does not refresh the snapshot of the
-- statement that waited: whatever a lock protects is read by a later statement, or from the locked row itself,
-- which a SELECT that waited for it gives as it is by then.
--
-- Starting a statement that writes costs as much as a call in it does: the CHECKs are read from their text, each
-- table and index is opened, each node of the plan made. So most batches take four statements, and the others,
-- with meters, with idempotency keys, with more holds than a balance can pay or sent again, take more of them.
CREATE FUNCTION ledger_apply(
  -- True when an earlier attempt at the same batch may have been committed.
  p_retry boolean,
  s_id uuid[], s_kind text[], s_charge bigint[], s_fee bigint[],
  h_id uuid[], h_buyer bigint[], h_seller bigint[], h_fees bigint[], h_amount bigint[], h_ttl_ms bigint[],
  h_key text[], h_agent text[],
  -- 0 stands for a key without a meter. `p_metered`: at least one is not 0.
  p_metered boolean, h_meter bigint[],
  -- Kept with the hold, for the receipt of one that nobody resolves.
  h_version text[], h_input text[],
  -- The holds that carry an idempotency key: their position, key and request hash.
  i_ord int[], i_key text[], i_hash text[], p_idempotency_ttl interval
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := clock_timestamp();
  v_today date;
  -- The positions of the resolutions done now.
  v_done int[]; v_givebacks ledger_giveback[]; v_changes ledger_change[];
  -- Whether each account has room for what is asked of it, and whether so all holds were placed.
  v_fits boolean[]; v_placed boolean;
  v_answer text;
  v_codes text[];
  v_contested bigint[];
  v_meters bigint[];
  v_buyer bigint; v_available bigint; v_code text;
  v_meter spend_meters;
  -- The meter of each hold's whole balance, 0 without one.
  h_budget bigint[]; v_budgeted boolean;
  v_missing boolean; v_stale boolean;
  r record;
BEGIN
  WITH resolved AS (
    -- The condition on the open hold is what makes a second resolution a no-op.
    DELETE FROM ledger_holds h USING generate_subscripts(s_id, 1) AS i
    WHERE h.id = s_id[i] AND s_charge[i] <= h.amount AND (s_kind[i] <> 'settle' OR h.expires_at > v_now)
    RETURNING i AS ord, h.buyer, h.seller, h.fees, h.amount, s_charge[i] AS charge, s_fee[i] AS fee,
      CASE WHEN h.meter_id IS NOT NULL OR h.budget_meter_id IS NOT NULL OR (h.keyed AND s_kind[i] <> 'settle') THEN
        ROW (h.meter_id, h.metered_on, h.budget_meter_id, h.budget_metered_on, h.amount - s_charge[i],
          CASE WHEN h.keyed AND s_kind[i] <> 'settle' THEN h.id END)::ledger_giveback END AS giveback,
      h.id, s_kind[i] AS kind, h.key_id, h.agent_id
  ), journaled AS (
    INSERT INTO ledger_journal (id, kind, debit, credit, fee_account, amount, fee, held, key_id, agent_id, created_at)
    SELECT id, kind, buyer, seller, fees, charge, fee, amount, key_id, agent_id, v_now FROM resolved
  )
  SELECT
    ARRAY(SELECT ord FROM resolved),
    ARRAY(SELECT giveback FROM resolved WHERE (giveback).amount IS NOT NULL),
    ARRAY(
      SELECT ROW (account, sum_micros(posted), sum_micros(held), sum_micros(need))::ledger_change
      FROM (
        SELECT buyer AS account, -charge AS posted, -amount AS held, NULL::bigint AS need FROM resolved
        UNION ALL SELECT seller, charge - fee, 0::bigint, NULL::bigint FROM resolved WHERE charge > fee
        UNION ALL SELECT fees, fee, 0::bigint, NULL::bigint FROM resolved WHERE fee > 0
        UNION ALL SELECT h_buyer[i], 0::bigint, 0::bigint, h_amount[i] FROM generate_subscripts(h_id, 1) AS i
      ) legs
      GROUP BY account
    )
  INTO v_done, v_givebacks, v_changes;

  IF cardinality(v_givebacks) > 0 THEN
    -- A refunded call was never bought: its key may be used to buy again.
    DELETE FROM idempotency_keys k USING unnest(v_givebacks) AS g WHERE k.call_id = g.refunded;
  END IF;

  IF cardinality(i_ord) > 0 THEN
    v_codes := array_fill('1'::text, ARRAY[cardinality(h_id)]);
    -- Sorted, so that two processes claiming the same keys wait for each other in one direction only.
    INSERT INTO idempotency_keys AS k (key_id, idempotency_key, call_id, request_hash, expires_at)
    SELECT h_key[i.ord], i.key, h_id[i.ord], i.hash, v_now + p_idempotency_ttl
    FROM unnest(i_ord, i_key, i_hash) AS i (ord, key, hash)
    ORDER BY 1, 2
    ON CONFLICT (key_id, idempotency_key) DO UPDATE
      SET call_id = excluded.call_id, request_hash = excluded.request_hash, expires_at = excluded.expires_at
      WHERE k.expires_at <= v_now;
    FOR r IN
      SELECT i.ord FROM unnest(i_ord, i_key) AS i (ord, key)
      LEFT JOIN idempotency_keys k ON k.key_id = h_key[i.ord] AND k.idempotency_key = i.key
      WHERE k.call_id IS DISTINCT FROM h_id[i.ord]
    LOOP
      v_codes[r.ord] := 'k';
    END LOOP;
  END IF;

  v_fits := ARRAY(
    SELECT c.need IS NULL OR (a.meter_id IS NULL AND a.posted - a.held + c.posted - c.held >= c.need)
    FROM unnest(v_changes) AS c JOIN ledger_accounts a ON a.id = c.account
    ORDER BY a.id FOR NO KEY UPDATE OF a);
  -- An account that does not exist is not among those locked.
  v_placed := NOT p_retry AND NOT p_metered AND cardinality(i_ord) = 0
    AND cardinality(v_fits) = cardinality(v_changes) AND true = ALL (v_fits);

  -- What was resolved is so in any case.
  UPDATE ledger_accounts a SET posted = a.posted + c.posted,
    held = a.held + c.held + CASE WHEN v_placed THEN coalesce(c.need, 0) ELSE 0 END
  FROM unnest(v_changes) AS c WHERE a.id = c.account;

  IF v_placed THEN
    INSERT INTO ledger_holds (id, buyer, seller, fees, amount, key_id, agent_id, agent_version, input_hash, keyed, created_at, expires_at)
    SELECT h_id[i], h_buyer[i], h_seller[i], h_fees[i], h_amount[i], h_key[i], h_agent[i], h_version[i], h_input[i],
      false, v_now, v_now + h_ttl_ms[i] * interval '1 millisecond'
    FROM generate_subscripts(h_id, 1) AS i;
    IF cardinality(v_done) = cardinality(s_id) AND cardinality(v_givebacks) = 0 THEN
      RETURN repeat('1', cardinality(s_id) + cardinality(h_id));
    END IF;
  END IF;

  v_answer := repeat('1', cardinality(s_id));
  IF cardinality(v_done) < cardinality(s_id) THEN
    -- A later statement than the DELETE, so it sees what whoever held the lock committed.
    SELECT string_agg(CASE
        WHEN w.ord = ANY (v_done) THEN '1'
        WHEN j.id IS NOT NULL THEN CASE WHEN j.kind = w.kind AND j.amount = w.charge THEN '2' ELSE '3' END
        WHEN h.id IS NULL THEN '0'
        WHEN w.charge > h.amount THEN '4'
        ELSE '5' END, '' ORDER BY w.ord)
    INTO v_answer
    FROM unnest(s_id, s_kind, s_charge) WITH ORDINALITY AS w (id, kind, charge, ord)
    LEFT JOIN ledger_journal j ON j.id = w.id
    LEFT JOIN ledger_holds h ON h.id = w.id;
  END IF;

  SELECT bool_or(a.meter_id IS NOT NULL), bool_or(a.id IS NULL AND c.posted <> 0) INTO v_budgeted, v_missing
  FROM unnest(v_changes) AS c LEFT JOIN ledger_accounts a ON a.id = c.account;
  IF v_missing THEN
    RAISE EXCEPTION 'a leg names an account that does not exist' USING ERRCODE = 'foreign_key_violation';
  END IF;

  h_budget := array_fill(0::bigint, ARRAY[cardinality(h_id)]);
  IF v_budgeted AND cardinality(h_id) > 0 THEN
    SELECT array_agg(coalesce(a.meter_id, 0) ORDER BY w.ord) INTO h_budget
    FROM unnest(h_buyer) WITH ORDINALITY AS w (buyer, ord) LEFT JOIN ledger_accounts a ON a.id = w.buyer;
  END IF;

  IF p_metered OR v_budgeted OR cardinality(v_givebacks) > 0 THEN
    v_today := (v_now AT TIME ZONE 'utc')::date;
    v_meters := h_meter || h_budget
      || ARRAY(SELECT meter FROM unnest(v_givebacks)) || ARRAY(SELECT budget FROM unnest(v_givebacks));
    SELECT bool_or(day < v_today) INTO v_stale
    FROM (SELECT day FROM spend_meters WHERE id = ANY (v_meters) ORDER BY id FOR NO KEY UPDATE) locked;
    IF v_stale THEN
      UPDATE spend_meters SET
        used_day = 0,
        used_month = CASE WHEN date_trunc('month', day) < date_trunc('month', v_today) THEN 0 ELSE used_month END,
        day = v_today
      WHERE id = ANY (v_meters) AND day < v_today;
    END IF;
  END IF;

  IF cardinality(v_givebacks) > 0 THEN
    UPDATE spend_meters m SET
      used_day = m.used_day - b.day, used_month = m.used_month - b.month, used_total = m.used_total - b.total
    FROM (
      SELECT g.meter, sum_micros(g.amount) AS total,
        coalesce(sum_micros(g.amount) FILTER (WHERE g.metered_on = w.day), 0) AS day,
        coalesce(sum_micros(g.amount) FILTER (WHERE date_trunc('month', g.metered_on) = date_trunc('month', w.day)), 0) AS month
      FROM (
        SELECT meter, metered_on, amount FROM unnest(v_givebacks)
        UNION ALL SELECT budget, budgeted_on, amount FROM unnest(v_givebacks)
      ) g
      JOIN spend_meters w ON w.id = g.meter
      GROUP BY g.meter
    ) b
    WHERE m.id = b.meter;
  END IF;

  IF v_placed THEN RETURN v_answer || repeat('1', cardinality(h_id)); END IF;
  IF cardinality(h_id) = 0 THEN RETURN v_answer; END IF;

  v_codes := coalesce(v_codes, array_fill('1'::text, ARRAY[cardinality(h_id)]));
  IF p_retry THEN
    FOR r IN
      SELECT w.ord, coalesce(o.buyer, j.debit) = w.buyer AND coalesce(o.amount, j.held) = w.amount AS same
      FROM unnest(h_id, h_buyer, h_amount) WITH ORDINALITY AS w (id, buyer, amount, ord)
      LEFT JOIN ledger_holds o ON o.id = w.id
      LEFT JOIN ledger_journal j ON j.id = w.id
      WHERE o.id IS NOT NULL OR j.id IS NOT NULL
    LOOP
      v_codes[r.ord] := CASE WHEN r.same THEN '2' ELSE '3' END;
    END LOOP;
  END IF;

  -- The common case is that everything fits: one comparison per buyer. An account that does not exist
  -- has nothing to spend.
  SELECT coalesce(array_agg(n.buyer), '{}') INTO v_contested
  FROM (
    SELECT buyer, sum_micros(amount) AS need FROM unnest(h_buyer, h_amount, v_codes) AS w (buyer, amount, code)
    WHERE code = '1' GROUP BY buyer
  ) n
  LEFT JOIN ledger_accounts a ON a.id = n.buyer
  WHERE a.id IS NULL OR a.posted - a.held < n.need;

  IF p_metered OR v_budgeted THEN
    SELECT v_contested || coalesce(array_agg(n.buyer), '{}') INTO v_contested
    FROM (
      SELECT meter, buyer, sum_micros(amount) AS need
      FROM unnest(h_meter || h_budget, h_buyer || h_buyer, h_amount || h_amount, v_codes || v_codes)
        AS w (meter, buyer, amount, code)
      WHERE code = '1' AND meter <> 0
      GROUP BY meter, buyer
    ) n
    LEFT JOIN spend_meters m ON m.id = n.meter
    WHERE m.id IS NULL OR m.used_day + n.need > m.cap_day OR m.used_month + n.need > m.cap_month
      OR m.used_total + n.need > m.cap_total;

    UPDATE spend_meters m SET
      used_day = m.used_day + n.need, used_month = m.used_month + n.need, used_total = m.used_total + n.need
    FROM (
      SELECT meter, sum_micros(amount) AS need
      FROM unnest(h_meter || h_budget, h_buyer || h_buyer, h_amount || h_amount, v_codes || v_codes)
        AS w (meter, buyer, amount, code)
      WHERE code = '1' AND meter <> 0 AND NOT buyer = ANY (v_contested)
      GROUP BY meter
    ) n
    WHERE m.id = n.meter;
  END IF;

  -- Where not everything fits, each hold is decided in the order it arrived; a refused one takes nothing.
  IF cardinality(v_contested) > 0 THEN
    FOR r IN
      SELECT w.ord, w.buyer, w.amount, w.meter, w.budget, a.posted - a.held AS available
      FROM unnest(h_buyer, h_amount, h_meter, h_budget, v_codes)
        WITH ORDINALITY AS w (buyer, amount, meter, budget, code, ord)
      LEFT JOIN ledger_accounts a ON a.id = w.buyer
      WHERE w.code = '1' AND w.buyer = ANY (v_contested)
      ORDER BY w.buyer, w.ord
    LOOP
      IF v_buyer IS DISTINCT FROM r.buyer THEN
        v_buyer := r.buyer;
        v_available := coalesce(r.available, 0);
      END IF;
      v_code := '1';
      IF r.amount > v_available OR r.available IS NULL THEN
        v_code := '0';
      ELSIF r.meter <> 0 OR r.budget <> 0 THEN
        IF r.meter <> 0 THEN
          SELECT * INTO v_meter FROM spend_meters WHERE id = r.meter;
          v_code := CASE
            WHEN v_meter.id IS NULL OR v_meter.used_total + r.amount > v_meter.cap_total THEN 't'
            WHEN v_meter.used_month + r.amount > v_meter.cap_month THEN 'm'
            WHEN v_meter.used_day + r.amount > v_meter.cap_day THEN 'd'
            ELSE '1' END;
        END IF;
        IF v_code = '1' AND r.budget <> 0 THEN
          SELECT * INTO v_meter FROM spend_meters WHERE id = r.budget;
          v_code := CASE
            WHEN v_meter.id IS NULL OR v_meter.used_total + r.amount > v_meter.cap_total THEN 'T'
            WHEN v_meter.used_month + r.amount > v_meter.cap_month THEN 'M'
            WHEN v_meter.used_day + r.amount > v_meter.cap_day THEN 'D'
            ELSE '1' END;
        END IF;
        IF v_code = '1' THEN
          UPDATE spend_meters SET used_day = used_day + r.amount, used_month = used_month + r.amount,
            used_total = used_total + r.amount
          WHERE id IN (r.meter, r.budget);
        END IF;
      END IF;
      IF v_code = '1' THEN
        v_available := v_available - r.amount;
      ELSE
        v_codes[r.ord] := v_code;
      END IF;
    END LOOP;
  END IF;

  -- The day the meter counts under, which another process may have moved past ours at midnight: what is
  -- given back later must be looked for where it was counted.
  INSERT INTO ledger_holds (id, buyer, seller, fees, amount, key_id, agent_id, agent_version, input_hash,
    meter_id, metered_on, budget_meter_id, budget_metered_on, keyed, created_at, expires_at)
  SELECT h_id[i], h_buyer[i], h_seller[i], h_fees[i], h_amount[i], h_key[i], h_agent[i], h_version[i], h_input[i],
    nullif(h_meter[i], 0), CASE WHEN h_meter[i] <> 0 THEN (SELECT m.day FROM spend_meters m WHERE m.id = h_meter[i]) END,
    nullif(h_budget[i], 0), CASE WHEN h_budget[i] <> 0 THEN (SELECT m.day FROM spend_meters m WHERE m.id = h_budget[i]) END,
    i = ANY (i_ord), v_now, v_now + h_ttl_ms[i] * interval '1 millisecond'
  FROM generate_subscripts(h_id, 1) AS i
  WHERE v_codes[i] = '1';
  UPDATE ledger_accounts a SET held = a.held + n.held
  FROM (
    SELECT buyer, sum_micros(amount) AS held FROM unnest(h_buyer, h_amount, v_codes) AS w (buyer, amount, code)
    WHERE code = '1' GROUP BY buyer
  ) n
  WHERE a.id = n.buyer;

  -- A refused hold leaves no claim on its idempotency key.
  IF cardinality(i_ord) > 0 THEN
    DELETE FROM idempotency_keys k USING unnest(i_ord) AS i (ord)
    WHERE k.call_id = h_id[i.ord] AND v_codes[i.ord] NOT IN ('1', '2', 'k');
  END IF;
  RETURN v_answer || array_to_string(v_codes, '');
END $$;--> statement-breakpoint

-- Appends receipts to the chains of their balances, whose rows in `ledger_accounts` this transaction has
-- locked: so the ends of the chains are read by a later statement than the one that waited, and stay as they
-- are. `p_chains` names each of those balances once, and `p_chain` says which of them a receipt is of, 0 where a
-- resolution has none. A receipt comes in two parts: what stands before the hash of the one before it, and what
-- stands after its own number.
--
-- Answers the hash and the number of each in the order asked, on two lines with commas between. Only a receipt
-- whose code is 1 is written, since the others' holds were not resolved by this batch; one with code 2 was, by
-- an earlier attempt.
CREATE FUNCTION receipts_append(p_call uuid[], p_chains bigint[], p_chain int[], p_before text[], p_after text[], p_codes text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  v_ends receipt_chains[];
  -- Number and hash of the last receipt of each chain, once this batch has appended one.
  v_last bigint[]; v_heads text[];
  v_prevs text[]; v_seqs bigint[];
  r record;
BEGIN
  IF cardinality(p_chains) = 0 THEN RETURN E'\n'; END IF;
  v_prevs := array_fill(NULL::text, ARRAY[cardinality(p_call)]);
  v_seqs := array_fill(NULL::bigint, ARRAY[cardinality(p_call)]);

  IF left(p_codes, cardinality(p_call)) <> repeat('1', cardinality(p_call)) THEN
    -- Filed by an earlier attempt at the same batch, whose answer was lost: there it stands.
    FOR r IN
      SELECT i, w.seq, encode(sha256(convert_to(before.payload, 'UTF8')), 'hex') AS prev
      FROM generate_subscripts(p_call, 1) AS i
      JOIN receipts w ON w.call_id = p_call[i]
      LEFT JOIN receipts before ON before.account_id = w.account_id AND before.seq = w.seq - 1
      WHERE substr(p_codes, i, 1) = '2'
    LOOP
      v_prevs[r.i] := coalesce(r.prev, repeat('0', 64));
      v_seqs[r.i] := r.seq;
    END LOOP;
    p_chain := ARRAY(SELECT CASE WHEN substr(p_codes, i, 1) = '1' THEN p_chain[i] ELSE 0 END
      FROM generate_subscripts(p_chain, 1) AS i ORDER BY i);
  END IF;

  v_ends := ARRAY(SELECT (SELECT c FROM receipt_chains c WHERE c.account_id = p_chains[i])
    FROM generate_subscripts(p_chains, 1) AS i ORDER BY i);
  FOR i IN 1 .. cardinality(p_chain) LOOP
    IF p_chain[i] > 0 THEN
      v_prevs[i] := coalesce(v_heads[p_chain[i]], encode(v_ends[p_chain[i]].head, 'hex'), repeat('0', 64));
      v_seqs[i] := coalesce(v_last[p_chain[i]], v_ends[p_chain[i]].seq, 0) + 1;
      v_last[p_chain[i]] := v_seqs[i];
      v_heads[p_chain[i]] := encode(sha256(convert_to(
        concat(p_before[i], v_prevs[i], '","seq":', v_seqs[i], p_after[i]), 'UTF8')), 'hex');
    END IF;
  END LOOP;

  INSERT INTO receipts (call_id, account_id, seq, payload)
    SELECT p_call[i], p_chains[p_chain[i]], v_seqs[i], concat(p_before[i], v_prevs[i], '","seq":', v_seqs[i], p_after[i])
    FROM generate_subscripts(p_chain, 1) AS i
    WHERE p_chain[i] > 0;
  INSERT INTO receipt_chains AS c (account_id, seq, head)
    SELECT p_chains[i], v_last[i], decode(v_heads[i], 'hex') FROM generate_subscripts(v_last, 1) AS i
    WHERE v_last[i] IS NOT NULL
    ON CONFLICT (account_id) DO UPDATE SET seq = excluded.seq, head = excluded.head;
  RETURN concat(array_to_string(v_prevs, ',', ''), E'\n', array_to_string(v_seqs, ',', ''));
END $$;--> statement-breakpoint

-- Nobody is left to say what such a receipt should tell, so it is made of what the hold remembers. A hold
-- without terms was placed by something that wants no receipt.
CREATE FUNCTION ledger_expire_batch(p_holds ledger_holds[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_ids uuid[] := ARRAY(SELECT h.id FROM unnest(p_holds) AS h ORDER BY h.id);
  v_chains bigint[] := ARRAY(SELECT DISTINCT h.buyer FROM unnest(p_holds) AS h);
  v_count int := cardinality(p_holds);
  v_codes text;
BEGIN
  v_codes := ledger_apply(false,
    v_ids, array_fill('expire'::text, ARRAY[v_count]), array_fill(0::bigint, ARRAY[v_count]),
    array_fill(0::bigint, ARRAY[v_count]),
    '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', false, '{}', '{}', '{}', '{}', '{}', '{}', interval '0');
  PERFORM receipts_append(v_ids, v_chains,
    array_agg(CASE WHEN h.input_hash IS NOT NULL THEN array_position(v_chains, h.buyer) ELSE 0 END ORDER BY h.id),
    array_agg(concat('{"agent_id":', to_json(h.agent_id), ',"agent_version":', coalesce(to_json(h.agent_version)::text, 'null'),
      ',"call_id":"call_', replace(h.id::text, '-', ''), '","charged":"0","code":"INTERNAL","currency":', to_json(a.currency),
      ',"ended_at":', receipt_time(clock_timestamp()), ',"fee":"0","held":"',
      (h.amount / 1000000)::text, rtrim(rtrim('.' || lpad((h.amount % 1000000)::text, 6, '0'), '0'), '.'),
      '","input_hash":', to_json(h.input_hash), ',"key_id":', to_json(h.key_id),
      ',"manifest_hash":', coalesce(to_json(v.manifest_hash)::text, 'null'), ',"organization_id":', to_json(a.organization_id),
      ',"outcome":"refunded","output_hash":null,"prev":"') ORDER BY h.id),
    array_agg(concat(',"started_at":', receipt_time(h.created_at), ',"v":1}') ORDER BY h.id),
    v_codes)
  FROM unnest(p_holds) AS h
  JOIN ledger_accounts a ON a.id = h.buyer
  LEFT JOIN agent_versions v ON v.agent_id = h.agent_id AND v.version = h.agent_version;
END $$;
