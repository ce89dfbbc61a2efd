-- A hold is counted by any number of meters: its key's and its balance's today, and whatever comes to govern calls.
DROP FUNCTION ledger_expire(int);--> statement-breakpoint
DROP FUNCTION ledger_expire_batch(ledger_holds[]);--> statement-breakpoint
DROP FUNCTION ledger_apply;--> statement-breakpoint
DROP TYPE ledger_giveback;--> statement-breakpoint
ALTER TABLE "ledger_holds" ADD COLUMN "meters" bigint[];--> statement-breakpoint
ALTER TABLE "ledger_holds" ADD COLUMN "counted_on" date[];--> statement-breakpoint
UPDATE "ledger_holds" SET
  "meters" = array_remove(ARRAY["meter_id", "budget_meter_id"], NULL),
  "counted_on" = array_remove(ARRAY["metered_on", "budget_metered_on"], NULL)
WHERE "meter_id" IS NOT NULL OR "budget_meter_id" IS NOT NULL;--> statement-breakpoint
ALTER TABLE "ledger_holds" DROP CONSTRAINT "holds_meter_has_its_day";--> statement-breakpoint
ALTER TABLE "ledger_holds" DROP CONSTRAINT "holds_budget_meter_has_its_day";--> statement-breakpoint
ALTER TABLE "ledger_holds" DROP COLUMN "meter_id";--> statement-breakpoint
ALTER TABLE "ledger_holds" DROP COLUMN "metered_on";--> statement-breakpoint
ALTER TABLE "ledger_holds" DROP COLUMN "budget_meter_id";--> statement-breakpoint
ALTER TABLE "ledger_holds" DROP COLUMN "budget_metered_on";--> statement-breakpoint
ALTER TABLE "ledger_holds" ADD CONSTRAINT "holds_meters_have_their_days" CHECK (cardinality("ledger_holds"."meters") is not distinct from cardinality("ledger_holds"."counted_on"));--> statement-breakpoint

-- What a resolved hold gives back: what was not charged of it to the meters that counted it, each on the day it
-- did; and by `refunded`, the call's id, the idempotency key the call had.
CREATE TYPE ledger_giveback AS (meters bigint[], counted_on date[], amount bigint, refunded uuid);--> statement-breakpoint

-- Applies one batch: first the resolutions of open holds, then new holds, each decided on its own in the
-- order it arrived. Answers one character for each, the resolutions first.
--
--   resolution  1 done now   2 was done before, the same way   3 was resolved another way
--               4 the charge is above the hold                 5 the hold expired: it can only be refunded
--               0 no such hold ever
--   hold        1 placed     2 was placed before               3 the id was used for another hold
--               0 not enough credits   D M T  the whole balance's day, month or total cap
--               d m t  those of the hold's first meter, and for its second, third … three more characters each from À
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
  -- The meters of the holds, but for those of their balances: the hold's position and the meter's id. Those of
  -- one hold are looked at in this order.
  m_ord int[], m_meter bigint[],
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
  -- What counts each hold: its position, the meter, and which of the hold's it is, 0 for that of its balance.
  c_ord int[]; c_meter bigint[]; c_nth int[];
  v_budgeted boolean; v_metered boolean := cardinality(m_ord) > 0;
  v_missing boolean; v_stale boolean;
  r record;
BEGIN
  WITH resolved AS (
    -- The condition on the open hold is what makes a second resolution a no-op.
    DELETE FROM ledger_holds h USING generate_subscripts(s_id, 1) AS i
    WHERE h.id = s_id[i] AND s_charge[i] <= h.amount AND (s_kind[i] <> 'settle' OR h.expires_at > v_now)
    RETURNING i AS ord, h.buyer, h.seller, h.fees, h.amount, s_charge[i] AS charge, s_fee[i] AS fee,
      CASE WHEN h.meters IS NOT NULL OR (h.keyed AND s_kind[i] <> 'settle') THEN
        ROW (h.meters, h.counted_on, h.amount - s_charge[i],
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
  v_placed := NOT p_retry AND NOT v_metered AND cardinality(i_ord) = 0
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

  c_ord := m_ord;
  c_meter := m_meter;
  IF v_metered THEN
    c_nth := ARRAY(SELECT row_number() OVER (PARTITION BY ord ORDER BY place)
      FROM unnest(m_ord) WITH ORDINALITY AS w (ord, place) ORDER BY place);
  END IF;
  IF v_budgeted AND cardinality(h_id) > 0 THEN
    SELECT c_ord || array_agg(w.ord::int), c_meter || array_agg(a.meter_id), c_nth || array_agg(0)
    INTO c_ord, c_meter, c_nth
    FROM unnest(h_buyer) WITH ORDINALITY AS w (buyer, ord) JOIN ledger_accounts a ON a.id = w.buyer
    WHERE a.meter_id IS NOT NULL;
  END IF;

  IF v_metered OR v_budgeted OR cardinality(v_givebacks) > 0 THEN
    v_today := (v_now AT TIME ZONE 'utc')::date;
    v_meters := c_meter || ARRAY(SELECT unnest(meters) FROM unnest(v_givebacks));
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
        coalesce(sum_micros(g.amount) FILTER (WHERE g.counted_on = w.day), 0) AS day,
        coalesce(sum_micros(g.amount) FILTER (WHERE date_trunc('month', g.counted_on) = date_trunc('month', w.day)), 0) AS month
      FROM (SELECT unnest(meters) AS meter, unnest(counted_on) AS counted_on, amount FROM unnest(v_givebacks)) g
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

  IF v_metered OR v_budgeted THEN
    -- Whoever spends on a meter that has not room for all is decided one by one.
    SELECT v_contested || coalesce(array_agg(w.buyer), '{}') INTO v_contested
    FROM (
      SELECT c.meter, sum_micros(h_amount[c.ord]) AS need, array_agg(h_buyer[c.ord]) AS buyers
      FROM unnest(c_ord, c_meter) AS c (ord, meter)
      WHERE v_codes[c.ord] = '1'
      GROUP BY c.meter
    ) n
    LEFT JOIN spend_meters m ON m.id = n.meter
    CROSS JOIN LATERAL unnest(n.buyers) AS w (buyer)
    WHERE m.id IS NULL OR m.used_day + n.need > m.cap_day OR m.used_month + n.need > m.cap_month
      OR m.used_total + n.need > m.cap_total;

    UPDATE spend_meters m SET
      used_day = m.used_day + n.need, used_month = m.used_month + n.need, used_total = m.used_total + n.need
    FROM (
      SELECT c.meter, sum_micros(h_amount[c.ord]) AS need
      FROM unnest(c_ord, c_meter) AS c (ord, meter)
      WHERE v_codes[c.ord] = '1' AND NOT h_buyer[c.ord] = ANY (v_contested)
      GROUP BY c.meter
    ) n
    WHERE m.id = n.meter;
  END IF;

  -- Where not everything fits, each hold is decided in the order it arrived; a refused one takes nothing.
  IF cardinality(v_contested) > 0 THEN
    FOR r IN
      SELECT w.ord, w.buyer, w.amount, a.posted - a.held AS available, c.meters, c.nths
      FROM unnest(h_buyer, h_amount, v_codes) WITH ORDINALITY AS w (buyer, amount, code, ord)
      LEFT JOIN ledger_accounts a ON a.id = w.buyer
      LEFT JOIN (
        SELECT ord, array_agg(meter ORDER BY nth = 0, nth) AS meters, array_agg(nth ORDER BY nth = 0, nth) AS nths
        FROM unnest(c_ord, c_meter, c_nth) AS m (ord, meter, nth) GROUP BY ord
      ) c ON c.ord = w.ord
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
      ELSIF r.meters IS NOT NULL THEN
        FOR k IN 1 .. cardinality(r.meters) LOOP
          SELECT * INTO v_meter FROM spend_meters WHERE id = r.meters[k];
          v_code := substr(CASE WHEN r.nths[k] = 0 THEN 'TMD' WHEN r.nths[k] = 1 THEN 'tmd'
              ELSE chr(186 + 3 * r.nths[k]) || chr(187 + 3 * r.nths[k]) || chr(188 + 3 * r.nths[k]) END,
            CASE
              WHEN v_meter.id IS NULL OR v_meter.used_total + r.amount > v_meter.cap_total THEN 1
              WHEN v_meter.used_month + r.amount > v_meter.cap_month THEN 2
              WHEN v_meter.used_day + r.amount > v_meter.cap_day THEN 3
            END, 1);
          EXIT WHEN v_code IS NOT NULL;
        END LOOP;
        v_code := coalesce(v_code, '1');
        IF v_code = '1' THEN
          UPDATE spend_meters SET used_day = used_day + r.amount, used_month = used_month + r.amount,
            used_total = used_total + r.amount
          WHERE id = ANY (r.meters);
        END IF;
      END IF;
      IF v_code = '1' THEN
        v_available := v_available - r.amount;
      ELSE
        v_codes[r.ord] := v_code;
      END IF;
    END LOOP;
  END IF;

  -- The day a meter counts under, which another process may have moved past ours at midnight: what is
  -- given back later must be looked for where it was counted.
  INSERT INTO ledger_holds (id, buyer, seller, fees, amount, key_id, agent_id, agent_version, input_hash,
    meters, counted_on, keyed, created_at, expires_at)
  SELECT h_id[i], h_buyer[i], h_seller[i], h_fees[i], h_amount[i], h_key[i], h_agent[i], h_version[i], h_input[i],
    c.meters, c.counted_on, i = ANY (i_ord), v_now, v_now + h_ttl_ms[i] * interval '1 millisecond'
  FROM generate_subscripts(h_id, 1) AS i
  LEFT JOIN (
    SELECT w.ord, array_agg(m.id ORDER BY w.nth = 0, w.nth) AS meters, array_agg(m.day ORDER BY w.nth = 0, w.nth) AS counted_on
    FROM unnest(c_ord, c_meter, c_nth) AS w (ord, meter, nth) JOIN spend_meters m ON m.id = w.meter GROUP BY w.ord
  ) c ON c.ord = i
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

-- No process is left to say what such a receipt should tell, so it is made of what the hold remembers. Its form is
-- given, for `format`: what stands before the hash of the receipt before it, and after its own number, with the
-- members it has from here as JSON, numbered as they are below. A hold without terms was placed by something that
-- wants no receipt.
CREATE FUNCTION ledger_expire_batch(p_holds ledger_holds[], p_before text, p_after text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_ids uuid[] := ARRAY(SELECT h.id FROM unnest(p_holds) AS h ORDER BY h.id);
  v_chains bigint[] := ARRAY(SELECT DISTINCT h.buyer FROM unnest(p_holds) AS h);
  v_count int := cardinality(p_holds);
  v_codes text;
BEGIN
  v_codes := ledger_apply(false,
    v_ids, array_fill('expire'::text, ARRAY[v_count]), array_fill(0::bigint, ARRAY[v_count]),
    array_fill(0::bigint, ARRAY[v_count]),
    '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', interval '0');
  PERFORM receipts_append(v_ids, v_chains,
    array_agg(CASE WHEN m.input_hash IS NOT NULL THEN array_position(v_chains, m.buyer) ELSE 0 END ORDER BY m.id),
    array_agg(format(p_before, VARIADIC m.members) ORDER BY m.id),
    array_agg(format(p_after, VARIADIC m.members) ORDER BY m.id),
    v_codes)
  FROM (
    SELECT h.id, h.buyer, h.input_hash, ARRAY[
      to_json(h.agent_id)::text,                                        -- 1 agent_id
      coalesce(to_json(h.agent_version)::text, 'null'),                 -- 2 agent_version
      to_json('call_' || replace(h.id::text, '-', ''))::text,           -- 3 call_id
      to_json(a.currency)::text,                                        -- 4 currency
      receipt_time(clock_timestamp()),                                  -- 5 ended_at
      to_json(trim_scale(h.amount::numeric / 1000000)::text)::text,     -- 6 held
      to_json(h.input_hash)::text,                                      -- 7 input_hash
      to_json(h.key_id)::text,                                          -- 8 key_id
      coalesce(to_json(v.manifest_hash)::text, 'null'),                 -- 9 manifest_hash
      to_json(a.organization_id)::text,                                 -- 10 organization_id
      receipt_time(h.created_at)                                        -- 11 started_at
    ] AS members
    FROM unnest(p_holds) AS h
    JOIN ledger_accounts a ON a.id = h.buyer
    LEFT JOIN agent_versions v ON v.agent_id = h.agent_id AND v.version = h.agent_version
  ) m;
END $$;--> statement-breakpoint

-- Refunds up to `p_limit` holds past their expiry, whichever process placed them, and tells what they were
-- for. Holds another sweeper has locked are skipped, so any number of sweepers may run. A hold that cannot be
-- refunded (its books contradict themselves) is left for the operator and does not keep the others waiting.
-- `p_before` and `p_after` are the form of their receipts: see `ledger_expire_batch`.
CREATE FUNCTION ledger_expire(p_limit int, p_before text, p_after text)
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
    PERFORM ledger_expire_batch(v_holds, p_before, p_after);
  EXCEPTION WHEN OTHERS THEN
    v_ids := '{}';
    FOREACH v_hold IN ARRAY v_holds LOOP
      BEGIN
        PERFORM ledger_expire_batch(ARRAY[v_hold], p_before, p_after);
        v_ids := v_ids || v_hold.id;
      EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'the expired hold of call % cannot be refunded: %', v_hold.id, SQLERRM;
      END;
    END LOOP;
  END;
  RETURN QUERY SELECT h.id, h.key_id, h.agent_id, h.amount, h.buyer, h.created_at FROM unnest(v_holds) AS h
    WHERE h.id = ANY (v_ids);
END $$;
