-- Money moves only through the functions below. They are safe to repeat with the same ids: what has
-- happened is told, never done again.

-- Rows of a hot table are rewritten in place (HOT) only where their page has room, and only dead rows
-- of the last seconds should ever be there.
ALTER TABLE ledger_accounts SET (fillfactor = 30, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0);--> statement-breakpoint
ALTER TABLE spend_meters SET (fillfactor = 30, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0);--> statement-breakpoint
ALTER TABLE ledger_holds SET (autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0);--> statement-breakpoint

CREATE FUNCTION ledger_journal_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the journal is never changed: write a correcting row' USING ERRCODE = 'restrict_violation';
END $$;--> statement-breakpoint
CREATE TRIGGER journal_is_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_journal
  FOR EACH STATEMENT EXECUTE FUNCTION ledger_journal_is_immutable();--> statement-breakpoint

-- The journal as double entry: one row per leg; the legs of a movement sum to zero.
CREATE VIEW ledger_entries AS
  SELECT j.id, j.seq, j.kind, j.created_at, leg.account, leg.amount
  FROM ledger_journal j
  CROSS JOIN LATERAL (VALUES (j.debit, -j.amount), (j.credit, j.amount - j.fee), (j.fee_account, j.fee)) AS leg (account, amount)
  WHERE leg.amount <> 0;--> statement-breakpoint

-- Applies one batch: first the resolutions of open holds, then new holds, each decided on its own in the
-- order it arrived. Answers one character for each.
--
--   resolution  1 done now   2 was done before, the same way   3 was resolved another way
--               4 the charge is above the hold                 5 the hold expired: it can only be refunded
--               0 no such hold ever
--   hold        1 placed     2 was placed before               3 the id was used for another hold
--               0 not enough credits   d m t  the key's day, month or total cap   k the idempotency key is taken
--
-- Every batch takes its row locks in one order (holds, idempotency keys, accounts by id, meters by id), so
-- concurrent batches queue up and do not deadlock. A lock wait does not refresh the snapshot of the
-- statement that waited: whatever a lock protects is read by a later statement.
CREATE FUNCTION ledger_apply(
  -- True when an earlier attempt at the same batch may have been committed.
  p_retry boolean,
  s_id uuid[], s_kind text[], s_charge bigint[], s_fee bigint[],
  h_id uuid[], h_buyer bigint[], h_seller bigint[], h_fees bigint[], h_amount bigint[], h_ttl_ms bigint[],
  h_key text[], h_agent text[],
  -- 0 stands for a key without a meter. `p_metered`: at least one is not 0.
  p_metered boolean, h_meter bigint[],
  -- The holds that carry an idempotency key: their position, key and request hash.
  i_ord int[], i_key text[], i_hash text[], p_idempotency_ttl interval,
  OUT settle_codes text, OUT hold_codes text
) LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := clock_timestamp();
  v_today date := (v_now AT TIME ZONE 'utc')::date;
  -- What the resolutions change, per account, and what they give back, per hold of a metered key.
  d_account bigint[] := '{}'; d_posted bigint[] := '{}'; d_held bigint[] := '{}';
  g_meter bigint[]; g_on date[]; g_back bigint[];
  v_done int[]; v_freed uuid[];
  v_codes text[];
  v_contested bigint[];
  v_meters bigint[] := '{}';
  v_buyer bigint; v_available bigint; v_code text;
  v_meter spend_meters;
  v_changed int; v_expected int;
  r record;
BEGIN
  settle_codes := '';
  hold_codes := '';

  IF cardinality(s_id) > 0 THEN
    WITH wanted AS (
      SELECT * FROM unnest(s_id, s_kind, s_charge, s_fee) WITH ORDINALITY AS w (id, kind, charge, fee, ord)
    ), resolved AS (
      -- The condition on the open hold is what makes a second resolution a no-op.
      DELETE FROM ledger_holds h USING wanted w
      WHERE h.id = w.id AND w.charge <= h.amount AND (w.kind <> 'settle' OR h.expires_at > v_now)
      RETURNING h.*, w.kind, w.charge, w.fee, w.ord
    ), journaled AS (
      INSERT INTO ledger_journal (id, kind, debit, credit, fee_account, amount, fee, held, key_id, agent_id, created_at)
      SELECT id, kind, buyer, seller, fees, charge, fee, amount, key_id, agent_id, v_now FROM resolved
    ), legs AS (
      SELECT buyer AS account, -charge AS posted, -amount AS held FROM resolved
      UNION ALL SELECT seller, charge - fee, 0 FROM resolved WHERE charge > fee
      UNION ALL SELECT fees, fee, 0 FROM resolved WHERE fee > 0
    ), deltas AS (
      SELECT account, sum(posted)::bigint AS posted, sum(held)::bigint AS held FROM legs GROUP BY account
    )
    SELECT
      coalesce(array_agg(account), '{}'), coalesce(array_agg(posted), '{}'), coalesce(array_agg(held), '{}'),
      (SELECT array_agg(ord::int) FROM resolved),
      (SELECT array_agg(meter_id) FROM resolved WHERE meter_id IS NOT NULL),
      (SELECT array_agg(metered_on) FROM resolved WHERE meter_id IS NOT NULL),
      (SELECT array_agg(amount - charge) FROM resolved WHERE meter_id IS NOT NULL),
      (SELECT array_agg(id) FROM resolved WHERE keyed AND kind <> 'settle')
    INTO d_account, d_posted, d_held, v_done, g_meter, g_on, g_back, v_freed
    FROM deltas;

    IF cardinality(v_done) = cardinality(s_id) THEN
      settle_codes := repeat('1', cardinality(s_id));
    ELSE
      -- A later statement than the DELETE, so it sees what whoever held the lock committed.
      SELECT string_agg(CASE
          WHEN w.ord = ANY (v_done) THEN '1'
          WHEN j.id IS NOT NULL THEN CASE WHEN j.kind = w.kind AND j.amount = w.charge THEN '2' ELSE '3' END
          WHEN h.id IS NULL THEN '0'
          WHEN w.charge > h.amount THEN '4'
          ELSE '5' END, '' ORDER BY w.ord)
      INTO settle_codes
      FROM unnest(s_id, s_kind, s_charge) WITH ORDINALITY AS w (id, kind, charge, ord)
      LEFT JOIN ledger_journal j ON j.id = w.id
      LEFT JOIN ledger_holds h ON h.id = w.id;
    END IF;

    -- A refunded call was never bought: its key may be used to buy again.
    IF v_freed IS NOT NULL THEN
      DELETE FROM idempotency_keys WHERE call_id = ANY (v_freed);
    END IF;
  END IF;

  IF cardinality(h_id) > 0 THEN
    v_codes := array_fill('1'::text, ARRAY[cardinality(h_id)]);
  END IF;

  IF cardinality(i_ord) > 0 THEN
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

  PERFORM 1 FROM ledger_accounts WHERE id = ANY (d_account || h_buyer) ORDER BY id FOR NO KEY UPDATE;

  IF p_metered OR g_meter IS NOT NULL THEN
    v_meters := array_remove(coalesce(g_meter, '{}') || h_meter, 0);
    PERFORM 1 FROM spend_meters WHERE id = ANY (v_meters) ORDER BY id FOR NO KEY UPDATE;
    UPDATE spend_meters SET
      used_day = 0,
      used_month = CASE WHEN date_trunc('month', day) < date_trunc('month', v_today) THEN 0 ELSE used_month END,
      day = v_today
    WHERE id = ANY (v_meters) AND day < v_today;
  END IF;

  IF g_meter IS NOT NULL THEN
    UPDATE spend_meters m SET
      used_day = m.used_day - b.day, used_month = m.used_month - b.month, used_total = m.used_total - b.total
    FROM (
      SELECT g.meter, sum(g.back)::bigint AS total,
        coalesce(sum(g.back) FILTER (WHERE g.metered_on = w.day), 0)::bigint AS day,
        coalesce(sum(g.back) FILTER (WHERE date_trunc('month', g.metered_on) = date_trunc('month', w.day)), 0)::bigint AS month
      FROM unnest(g_meter, g_on, g_back) AS g (meter, metered_on, back)
      JOIN spend_meters w ON w.id = g.meter
      GROUP BY g.meter
    ) b
    WHERE m.id = b.meter;
  END IF;

  IF cardinality(h_id) > 0 THEN
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
    SELECT array_agg(n.account) INTO v_contested
    FROM (
      SELECT account, sum(need)::bigint AS need, bool_or(asks) AS asks
      FROM (
        SELECT buyer AS account, amount AS need, true AS asks
        FROM unnest(h_buyer, h_amount, v_codes) AS w (buyer, amount, code) WHERE code = '1'
        UNION ALL
        SELECT account, held - posted, false FROM unnest(d_account, d_posted, d_held) AS d (account, posted, held)
      ) wants
      GROUP BY account
    ) n
    LEFT JOIN ledger_accounts a ON a.id = n.account
    WHERE n.asks AND (a.id IS NULL OR a.posted - a.held < n.need);

    IF p_metered THEN
      SELECT coalesce(v_contested, '{}') || coalesce(array_agg(n.buyer), '{}') INTO v_contested
      FROM (
        SELECT meter, buyer, sum(amount)::bigint AS need
        FROM unnest(h_meter, h_buyer, h_amount, v_codes) AS w (meter, buyer, amount, code)
        WHERE code = '1' AND meter <> 0
        GROUP BY meter, buyer
      ) n
      LEFT JOIN spend_meters m ON m.id = n.meter
      WHERE m.id IS NULL OR m.used_day + n.need > m.cap_day OR m.used_month + n.need > m.cap_month
        OR m.used_total + n.need > m.cap_total;

      UPDATE spend_meters m SET
        used_day = m.used_day + n.need, used_month = m.used_month + n.need, used_total = m.used_total + n.need
      FROM (
        SELECT meter, sum(amount)::bigint AS need
        FROM unnest(h_meter, h_buyer, h_amount, v_codes) AS w (meter, buyer, amount, code)
        WHERE code = '1' AND meter <> 0 AND NOT buyer = ANY (v_contested)
        GROUP BY meter
      ) n
      WHERE m.id = n.meter;
    END IF;

    -- Where not everything fits, each hold is decided in the order it arrived; a refused one takes nothing.
    IF cardinality(v_contested) > 0 THEN
      FOR r IN
        SELECT w.ord, w.buyer, w.amount, w.meter,
          a.posted - a.held + coalesce((
            SELECT d.posted - d.held FROM unnest(d_account, d_posted, d_held) AS d (account, posted, held)
            WHERE d.account = w.buyer), 0) AS available
        FROM unnest(h_buyer, h_amount, h_meter, v_codes) WITH ORDINALITY AS w (buyer, amount, meter, code, ord)
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
        ELSIF r.meter <> 0 THEN
          SELECT * INTO v_meter FROM spend_meters WHERE id = r.meter;
          v_code := CASE
            WHEN v_meter.id IS NULL OR v_meter.used_total + r.amount > v_meter.cap_total THEN 't'
            WHEN v_meter.used_month + r.amount > v_meter.cap_month THEN 'm'
            WHEN v_meter.used_day + r.amount > v_meter.cap_day THEN 'd'
            ELSE '1' END;
          IF v_code = '1' THEN
            UPDATE spend_meters SET used_day = used_day + r.amount, used_month = used_month + r.amount,
              used_total = used_total + r.amount
            WHERE id = r.meter;
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
    INSERT INTO ledger_holds (id, buyer, seller, fees, amount, key_id, agent_id, meter_id, metered_on, keyed, created_at, expires_at)
    SELECT id, buyer, seller, fees, amount, key, agent, nullif(meter, 0),
      CASE WHEN meter <> 0 THEN (SELECT m.day FROM spend_meters m WHERE m.id = meter) END,
      ord = ANY (i_ord), v_now, v_now + ttl_ms * interval '1 millisecond'
    FROM unnest(h_id, h_buyer, h_seller, h_fees, h_amount, h_key, h_agent, h_meter, h_ttl_ms, v_codes)
      WITH ORDINALITY AS w (id, buyer, seller, fees, amount, key, agent, meter, ttl_ms, code, ord)
    WHERE code = '1';

    -- A refused hold leaves no claim on its idempotency key.
    IF cardinality(i_ord) > 0 THEN
      DELETE FROM idempotency_keys k USING unnest(i_ord) AS i (ord)
      WHERE k.call_id = h_id[i.ord] AND v_codes[i.ord] NOT IN ('1', '2', 'k');
    END IF;

    hold_codes := array_to_string(v_codes, '');
  END IF;

  WITH changes AS (
    SELECT account, sum(posted)::bigint AS posted, sum(held)::bigint AS held
    FROM (
      SELECT * FROM unnest(d_account, d_posted, d_held) AS d (account, posted, held)
      UNION ALL
      SELECT buyer, 0, amount FROM unnest(h_buyer, h_amount, v_codes) AS w (buyer, amount, code) WHERE code = '1'
    ) c
    GROUP BY account
  ), changed AS (
    UPDATE ledger_accounts a SET posted = a.posted + c.posted, held = a.held + c.held
    FROM changes c WHERE a.id = c.account
    RETURNING 1
  )
  SELECT (SELECT count(*) FROM changes), (SELECT count(*) FROM changed) INTO v_expected, v_changed;
  IF v_changed <> v_expected THEN
    RAISE EXCEPTION 'a leg names an account that does not exist' USING ERRCODE = 'foreign_key_violation';
  END IF;
END $$;--> statement-breakpoint

-- Refunds up to `p_limit` holds past their expiry, whichever process placed them, and tells what they were
-- for. Holds another sweeper has locked are skipped, so any number of sweepers may run. A hold that cannot be
-- refunded (its books contradict themselves) is left for the operator and does not keep the others waiting.
CREATE FUNCTION ledger_expire(p_limit int)
RETURNS TABLE (call_id uuid, key_id text, agent_id text, amount bigint, buyer bigint, opened_at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
  v_holds ledger_holds[];
  v_ids uuid[];
  v_hold ledger_holds;
BEGIN
  v_holds := ARRAY(
    SELECT h FROM ledger_holds h WHERE h.expires_at <= clock_timestamp() ORDER BY h.id LIMIT p_limit
    FOR UPDATE SKIP LOCKED);
  IF cardinality(v_holds) = 0 THEN RETURN; END IF;
  v_ids := ARRAY(SELECT h.id FROM unnest(v_holds) AS h ORDER BY h.id);
  BEGIN
    PERFORM ledger_expire_batch(v_ids);
  EXCEPTION WHEN OTHERS THEN
    v_ids := '{}';
    FOREACH v_hold IN ARRAY v_holds LOOP
      BEGIN
        PERFORM ledger_expire_batch(ARRAY[v_hold.id]);
        v_ids := v_ids || v_hold.id;
      EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'the expired hold of call % cannot be refunded: %', v_hold.id, SQLERRM;
      END;
    END LOOP;
  END;
  RETURN QUERY SELECT h.id, h.key_id, h.agent_id, h.amount, h.buyer, h.created_at FROM unnest(v_holds) AS h
    WHERE h.id = ANY (v_ids);
END $$;--> statement-breakpoint

CREATE FUNCTION ledger_expire_batch(p_ids uuid[]) RETURNS void LANGUAGE sql AS $$
  SELECT ledger_apply(false,
    p_ids, array_fill('expire'::text, ARRAY[cardinality(p_ids)]), array_fill(0::bigint, ARRAY[cardinality(p_ids)]),
    array_fill(0::bigint, ARRAY[cardinality(p_ids)]),
    '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', false, '{}', '{}', '{}', '{}', interval '0');
$$;--> statement-breakpoint

-- Moves credits between two accounts outside a call: a grant, a top-up. The id makes it happen once:
-- false says that it had happened before, exactly so.
CREATE FUNCTION ledger_transfer(p_id uuid, p_kind text, p_debit bigint, p_credit bigint, p_amount bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_known ledger_journal;
BEGIN
  PERFORM 1 FROM ledger_accounts WHERE id IN (p_debit, p_credit) ORDER BY id FOR NO KEY UPDATE;
  SELECT * INTO v_known FROM ledger_journal WHERE id = p_id;
  IF v_known.id IS NOT NULL THEN
    IF v_known.kind = p_kind AND v_known.debit = p_debit AND v_known.credit = p_credit AND v_known.amount = p_amount THEN
      RETURN false;
    END IF;
    RAISE EXCEPTION 'the id was used for another movement' USING ERRCODE = 'unique_violation';
  END IF;
  INSERT INTO ledger_journal (id, kind, debit, credit, amount) VALUES (p_id, p_kind, p_debit, p_credit, p_amount);
  UPDATE ledger_accounts SET posted = posted - p_amount WHERE id = p_debit;
  UPDATE ledger_accounts SET posted = posted + p_amount WHERE id = p_credit;
  RETURN true;
END $$;
