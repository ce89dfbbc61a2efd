-- What the migrations add up to, written by `npm run db:current`. Nothing runs this file.

CREATE TYPE ledger_change AS (account bigint, posted bigint, held bigint, need bigint);

CREATE TYPE ledger_giveback AS (meters bigint[], counted_on date[], amount bigint, refunded uuid);

CREATE OR REPLACE FUNCTION public.database_now()
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$SELECT now()$function$;

CREATE OR REPLACE FUNCTION public.dispute_leaves_time_to_answer()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  -- ANSWER_MS of billing, less what a process of an earlier version takes from reading its clock to this.
  IF NEW.answer_by < database_now() + interval '72 hours' - interval '1 minute' THEN
    RAISE EXCEPTION 'a seller has 72 hours to answer, and not until %', NEW.answer_by
      USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NEW;
END $function$;

CREATE OR REPLACE FUNCTION public.earnings_wait_for_the_dispute_window()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  -- DISPUTE_WINDOW_MS of billing.
  IF NEW.released_through > database_now() - interval '7 days' THEN
    RAISE EXCEPTION 'what was settled until % may still be disputed', NEW.released_through
      USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NEW;
END $function$;

CREATE OR REPLACE FUNCTION public.free_call_take(p_call uuid, p_account bigint, p_agent text, p_month date, p_limit integer)
 RETURNS text
 LANGUAGE plpgsql
AS $function$
DECLARE
  v_settled int;
  v_new int;
  v_open int;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  INSERT INTO free_call_months (account_id, agent_id, month) VALUES (p_account, p_agent, p_month) ON CONFLICT DO NOTHING;
  SELECT settled_calls INTO v_settled FROM free_call_months
    WHERE account_id = p_account AND agent_id = p_agent AND month = p_month FOR UPDATE;

  WITH ended AS (
    DELETE FROM free_calls f USING ledger_journal j
    WHERE f.account_id = p_account AND f.agent_id = p_agent AND f.month = p_month AND j.id = f.call_id
    RETURNING j.kind
  )
  SELECT count(*) INTO v_new FROM ended WHERE kind = 'settle';
  IF v_new > 0 THEN
    UPDATE free_call_months SET settled_calls = settled_calls + v_new
      WHERE account_id = p_account AND agent_id = p_agent AND month = p_month
      RETURNING settled_calls INTO v_settled;
  END IF;
  IF v_settled >= p_limit THEN RETURN 'used_up'; END IF;

  SELECT count(*) INTO v_open FROM free_calls f
    LEFT JOIN ledger_journal j ON j.id = f.call_id LEFT JOIN ledger_holds h ON h.id = f.call_id
    WHERE f.account_id = p_account AND f.agent_id = p_agent AND f.month = p_month
      AND CASE WHEN j.id IS NOT NULL THEN j.kind = 'settle'
        ELSE h.id IS NOT NULL OR f.taken_at > clock_timestamp() - interval '1 minute' END;
  IF v_settled + v_open >= p_limit THEN RETURN 'under_way'; END IF;
  INSERT INTO free_calls (call_id, account_id, agent_id, month) VALUES (p_call, p_account, p_agent, p_month);
  RETURN 'taken';
END $function$;

CREATE OR REPLACE FUNCTION public.ledger_apply(p_retry boolean, s_id uuid[], s_kind text[], s_charge bigint[], s_fee bigint[], h_id uuid[], h_buyer bigint[], h_seller bigint[], h_fees bigint[], h_amount bigint[], h_ttl_ms bigint[], h_key text[], h_agent text[], m_ord integer[], m_meter bigint[], h_version text[], h_input text[], i_ord integer[], i_key text[], i_hash text[], p_idempotency_ttl interval)
 RETURNS text
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION public.ledger_expire(p_limit integer, p_before text, p_after text)
 RETURNS TABLE(call_id uuid, key_id text, agent_id text, amount bigint, buyer bigint, opened_at timestamp with time zone)
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION public.ledger_expire_batch(p_holds ledger_holds[], p_before text, p_after text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION public.ledger_first_seq(p_account bigint, p_since timestamp with time zone)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE
AS $function$
DECLARE
  v_since timestamptz := p_since - interval '1 hour';
  v_low bigint := 1;
  v_high bigint := 1 + greatest(
    (SELECT seq FROM ledger_journal WHERE debit = p_account ORDER BY seq DESC LIMIT 1),
    (SELECT seq FROM ledger_journal WHERE credit = p_account ORDER BY seq DESC LIMIT 1));
  v_middle bigint;
  v_row record;
BEGIN
  -- An account to which nothing ever happened has no row to start at.
  IF v_high IS NULL THEN RETURN 1; END IF;
  WHILE v_low < v_high LOOP
    v_middle := v_low + (v_high - v_low) / 2;
    SELECT seq, created_at INTO v_row FROM (
      (SELECT seq, created_at FROM ledger_journal WHERE debit = p_account AND seq >= v_middle ORDER BY seq LIMIT 1)
      UNION ALL
      (SELECT seq, created_at FROM ledger_journal WHERE credit = p_account AND seq >= v_middle ORDER BY seq LIMIT 1)
    ) next ORDER BY seq LIMIT 1;
    IF v_row.created_at < v_since THEN
      v_low := v_row.seq + 1;
    ELSE
      v_high := v_middle;
    END IF;
  END LOOP;
  RETURN v_low;
END $function$;

CREATE OR REPLACE FUNCTION public.ledger_journal_is_immutable()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  RAISE EXCEPTION 'the journal is never changed: write a correcting row' USING ERRCODE = 'restrict_violation';
END $function$;

CREATE OR REPLACE FUNCTION public.ledger_transfer(p_id uuid, p_kind text, p_debit bigint, p_credit bigint, p_amount bigint, p_subject uuid DEFAULT NULL::uuid)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
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
  INSERT INTO ledger_journal (id, kind, debit, credit, amount, subject) VALUES (p_id, p_kind, p_debit, p_credit, p_amount, p_subject);
  UPDATE ledger_accounts SET posted = posted - p_amount WHERE id = p_debit;
  UPDATE ledger_accounts SET posted = posted + p_amount WHERE id = p_credit;
  RETURN true;
END $function$;

CREATE OR REPLACE FUNCTION public.receipt_time(p_at timestamp with time zone)
 RETURNS text
 LANGUAGE sql
AS $function$
  SELECT '"' || to_char(p_at AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') || '"';
$function$;

CREATE OR REPLACE FUNCTION public.receipts_append(p_call uuid[], p_chains bigint[], p_chain integer[], p_before text[], p_after text[], p_codes text)
 RETURNS text
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION public.receipts_are_immutable()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  RAISE EXCEPTION 'a receipt is never changed' USING ERRCODE = 'restrict_violation';
END $function$;

CREATE OR REPLACE FUNCTION public.silence_waits_for_the_deadline()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF database_now() < OLD.answer_by OR NEW.answer_by <> OLD.answer_by THEN
    RAISE EXCEPTION 'the seller may answer until %', OLD.answer_by
      USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NEW;
END $function$;

CREATE TRIGGER disputes_leave_time_to_answer BEFORE INSERT ON public.disputes FOR EACH ROW WHEN ((new.status = 'open'::text)) EXECUTE FUNCTION dispute_leaves_time_to_answer();

CREATE TRIGGER disputes_silence_waits_for_the_deadline BEFORE UPDATE ON public.disputes FOR EACH ROW WHEN (((new.decided_by = 'silence'::text) AND (old.decided_by IS NULL))) EXECUTE FUNCTION silence_waits_for_the_deadline();

CREATE TRIGGER earning_releases_wait_for_the_dispute_window BEFORE INSERT OR UPDATE OF released_through ON public.earning_releases FOR EACH ROW EXECUTE FUNCTION earnings_wait_for_the_dispute_window();

CREATE TRIGGER journal_is_immutable BEFORE DELETE OR UPDATE OR TRUNCATE ON public.ledger_journal FOR EACH STATEMENT EXECUTE FUNCTION ledger_journal_is_immutable();

CREATE TRIGGER receipts_are_immutable BEFORE DELETE OR UPDATE OR TRUNCATE ON public.receipts FOR EACH STATEMENT EXECUTE FUNCTION receipts_are_immutable();

ALTER TABLE agent_versions ADD CONSTRAINT agent_versions_agent_id_agents_id_fk FOREIGN KEY (agent_id) REFERENCES agents(id);

ALTER TABLE agent_versions ADD CONSTRAINT agent_versions_are_published_once PRIMARY KEY (agent_id, version);

ALTER TABLE agent_versions ADD CONSTRAINT agent_versions_hash_is_sha256 CHECK ((manifest_hash ~ '^[0-9a-f]{64}$'::text));

ALTER TABLE agent_versions ADD CONSTRAINT agent_versions_manifest_is_an_object CHECK ((json_typeof(manifest) = 'object'::text));

ALTER TABLE agents ADD CONSTRAINT agents_are_verified_with_a_score CHECK (((status <> 'verified'::text) OR (trust_score IS NOT NULL)));

ALTER TABLE agents ADD CONSTRAINT agents_id_is_well_formed CHECK ((id ~ '^agt_[a-z0-9]+(_[a-z0-9]+)*_v[1-9][0-9]*$'::text));

ALTER TABLE agents ADD CONSTRAINT agents_organization_id_organizations_id_fk FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE agents ADD CONSTRAINT agents_pkey PRIMARY KEY (id);

ALTER TABLE agents ADD CONSTRAINT agents_status_is_known CHECK ((status = ANY (ARRAY['published'::text, 'verified'::text, 'suspended'::text])));

ALTER TABLE agents ADD CONSTRAINT agents_trust_score_is_a_percentage CHECK (((trust_score >= 0) AND (trust_score <= 100)));

ALTER TABLE api_keys ADD CONSTRAINT api_keys_currency_is_known CHECK ((currency = ANY (ARRAY['live'::text, 'test'::text])));

ALTER TABLE api_keys ADD CONSTRAINT api_keys_max_per_call_is_not_negative CHECK ((max_per_call_micros >= 0));

ALTER TABLE api_keys ADD CONSTRAINT api_keys_organization_id_organizations_id_fk FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE api_keys ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);

ALTER TABLE api_keys ADD CONSTRAINT api_keys_rate_is_positive CHECK (((rate_per_minute > 0) AND (max_concurrent > 0)));

ALTER TABLE auto_top_ups ADD CONSTRAINT auto_top_ups_amount_fits_the_ceiling CHECK ((amount_cents <= monthly_ceiling_cents));

ALTER TABLE auto_top_ups ADD CONSTRAINT auto_top_ups_are_one_per_currency PRIMARY KEY (organization_id, currency);

ALTER TABLE auto_top_ups ADD CONSTRAINT auto_top_ups_organization_id_organizations_id_fk FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE balance_alerts ADD CONSTRAINT balance_alerts_are_one_per_currency PRIMARY KEY (organization_id, currency);

ALTER TABLE balance_alerts ADD CONSTRAINT balance_alerts_organization_id_organizations_id_fk FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE budget_notices ADD CONSTRAINT budget_notices_are_told_once PRIMARY KEY (meter_id, "window", starts_on, percent, cap_micros);

ALTER TABLE call_results ADD CONSTRAINT call_results_pkey PRIMARY KEY (call_id);

ALTER TABLE calls ADD CONSTRAINT calls_charge_at_most_the_hold CHECK (((charged_micros >= 0) AND (charged_micros <= held_micros)));

ALTER TABLE calls ADD CONSTRAINT calls_charge_only_when_settled CHECK (((outcome = 'settled'::text) OR (charged_micros = 0)));

ALTER TABLE calls ADD CONSTRAINT calls_code_says_why_there_is_no_answer CHECK (((outcome = ANY (ARRAY['settled'::text, 'replayed'::text])) = (code IS NULL)));

ALTER TABLE calls ADD CONSTRAINT calls_fee_is_part_of_charge CHECK (((fee_micros >= 0) AND (fee_micros <= charged_micros)));

ALTER TABLE calls ADD CONSTRAINT calls_hold_only_when_settled_or_refunded CHECK (((outcome = ANY (ARRAY['settled'::text, 'refunded'::text])) OR (held_micros = 0)));

ALTER TABLE calls ADD CONSTRAINT calls_outcome_is_known CHECK ((outcome = ANY (ARRAY['settled'::text, 'refunded'::text, 'refused'::text, 'replayed'::text])));

ALTER TABLE calls ADD CONSTRAINT calls_pkey PRIMARY KEY (id);

ALTER TABLE calls ADD CONSTRAINT calls_replay_names_the_call CHECK (((outcome = 'replayed'::text) = (replay_of IS NOT NULL)));

ALTER TABLE card_disputes ADD CONSTRAINT card_disputes_cents_are_not_negative CHECK ((cents >= 0));

ALTER TABLE card_disputes ADD CONSTRAINT card_disputes_pkey PRIMARY KEY (dispute_id);

ALTER TABLE card_disputes ADD CONSTRAINT card_disputes_state_is_known CHECK ((state = ANY (ARRAY['inquiry'::text, 'open'::text, 'won'::text, 'lost'::text])));

ALTER TABLE card_disputes ADD CONSTRAINT card_disputes_top_up_id_top_ups_id_fk FOREIGN KEY (top_up_id) REFERENCES top_ups(id);

ALTER TABLE card_refunds ADD CONSTRAINT card_refunds_cents_are_positive CHECK ((cents > 0));

ALTER TABLE card_refunds ADD CONSTRAINT card_refunds_pkey PRIMARY KEY (refund_id);

ALTER TABLE card_refunds ADD CONSTRAINT card_refunds_state_is_known CHECK ((state = ANY (ARRAY['pending'::text, 'succeeded'::text, 'canceled'::text, 'failed'::text])));

ALTER TABLE card_refunds ADD CONSTRAINT card_refunds_top_up_id_top_ups_id_fk FOREIGN KEY (top_up_id) REFERENCES top_ups(id);

ALTER TABLE disputes ADD CONSTRAINT disputes_are_decided_by_someone CHECK ((((status = 'open'::text) = (decided_by IS NULL)) AND ((status = 'open'::text) = (decided_at IS NULL))));

ALTER TABLE disputes ADD CONSTRAINT disputes_are_one_per_call UNIQUE (call_id);

ALTER TABLE disputes ADD CONSTRAINT disputes_buyer_id_organizations_id_fk FOREIGN KEY (buyer_id) REFERENCES organizations(id);

ALTER TABLE disputes ADD CONSTRAINT disputes_claim_at_most_the_charge CHECK (((claimed_micros >= 1) AND (claimed_micros <= charged_micros)));

ALTER TABLE disputes ADD CONSTRAINT disputes_fee_is_part_of_the_claim CHECK (((claimed_fee_micros >= 0) AND (claimed_fee_micros <= claimed_micros)));

ALTER TABLE disputes ADD CONSTRAINT disputes_pkey PRIMARY KEY (id);

ALTER TABLE disputes ADD CONSTRAINT disputes_refund_at_most_the_claim CHECK (((refunded_micros >= 0) AND (refunded_micros <= claimed_micros)));

ALTER TABLE disputes ADD CONSTRAINT disputes_seller_id_organizations_id_fk FOREIGN KEY (seller_id) REFERENCES organizations(id);

ALTER TABLE early_fraud_warnings ADD CONSTRAINT early_fraud_warnings_pkey PRIMARY KEY (warning_id);

ALTER TABLE early_fraud_warnings ADD CONSTRAINT early_fraud_warnings_top_up_id_top_ups_id_fk FOREIGN KEY (top_up_id) REFERENCES top_ups(id);

ALTER TABLE earning_releases ADD CONSTRAINT earning_releases_pkey PRIMARY KEY (account_id);

ALTER TABLE events ADD CONSTRAINT events_organization_id_organizations_id_fk FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE events ADD CONSTRAINT events_pkey PRIMARY KEY (id);

ALTER TABLE free_call_months ADD CONSTRAINT free_call_months_are_counted_once PRIMARY KEY (account_id, agent_id, month);

ALTER TABLE free_call_months ADD CONSTRAINT free_call_months_count_up CHECK ((settled_calls >= 0));

ALTER TABLE free_calls ADD CONSTRAINT free_calls_pkey PRIMARY KEY (call_id);

ALTER TABLE idempotency_keys ADD CONSTRAINT idempotency_keys_are_per_api_key PRIMARY KEY (key_id, idempotency_key);

ALTER TABLE ledger_accounts ADD CONSTRAINT accounts_are_one_per_owner_currency_and_kind UNIQUE NULLS NOT DISTINCT (organization_id, currency, kind);

ALTER TABLE ledger_accounts ADD CONSTRAINT accounts_cannot_be_overdrawn CHECK (((kind = 'funding'::text) OR (posted >= held)));

ALTER TABLE ledger_accounts ADD CONSTRAINT accounts_currency_is_known CHECK ((currency = ANY ('{live,test}'::text[])));

ALTER TABLE ledger_accounts ADD CONSTRAINT accounts_held_is_not_negative CHECK ((held >= 0));

ALTER TABLE ledger_accounts ADD CONSTRAINT accounts_kind_is_known CHECK ((kind = ANY ('{balance,frozen,earnings,payable,disputed,fees,funding}'::text[])));

ALTER TABLE ledger_accounts ADD CONSTRAINT ledger_accounts_organization_id_organizations_id_fk FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE ledger_accounts ADD CONSTRAINT ledger_accounts_pkey PRIMARY KEY (id);

ALTER TABLE ledger_holds ADD CONSTRAINT holds_amount_is_not_negative CHECK ((amount >= 0));

ALTER TABLE ledger_holds ADD CONSTRAINT holds_expire_after_they_open CHECK ((expires_at > created_at));

ALTER TABLE ledger_holds ADD CONSTRAINT holds_meters_have_their_days CHECK ((NOT (cardinality(meters) IS DISTINCT FROM cardinality(counted_on))));

ALTER TABLE ledger_holds ADD CONSTRAINT ledger_holds_pkey PRIMARY KEY (id);

ALTER TABLE ledger_journal ADD CONSTRAINT journal_amount_is_not_negative CHECK ((amount >= 0));

ALTER TABLE ledger_journal ADD CONSTRAINT journal_fee_has_an_account CHECK (((fee = 0) OR (fee_account IS NOT NULL)));

ALTER TABLE ledger_journal ADD CONSTRAINT journal_fee_is_part_of_amount CHECK (((fee >= 0) AND (fee <= amount)));

ALTER TABLE ledger_journal ADD CONSTRAINT journal_kind_is_known CHECK ((kind = ANY ('{settle,refund,expire,grant,top_up,freeze,unfreeze,top_up_reversal,top_up_restored,release,dispute,dispute_rejected,reversal,fee_reversal,payout,payout_returned}'::text[])));

ALTER TABLE ledger_journal ADD CONSTRAINT journal_moves_between_two_accounts CHECK ((debit <> credit));

ALTER TABLE ledger_journal ADD CONSTRAINT journal_refunds_charge_nothing CHECK (((kind <> ALL ('{refund,expire}'::text[])) OR (amount = 0)));

ALTER TABLE ledger_journal ADD CONSTRAINT journal_settles_at_most_the_hold CHECK (((kind <> ALL ('{settle,refund,expire}'::text[])) OR (amount <= held)));

ALTER TABLE ledger_journal ADD CONSTRAINT ledger_journal_pkey PRIMARY KEY (id);

ALTER TABLE ledger_month_ends ADD CONSTRAINT month_ends_are_one_per_account PRIMARY KEY (account_id, month);

ALTER TABLE linked_resources ADD CONSTRAINT linked_resources_are_one_per_key_and_uri PRIMARY KEY (key_id, uri_hash);

ALTER TABLE organizations ADD CONSTRAINT organizations_name_is_not_blank CHECK ((length(btrim(name)) > 0));

ALTER TABLE organizations ADD CONSTRAINT organizations_pkey PRIMARY KEY (id);

ALTER TABLE payout_accounts ADD CONSTRAINT payout_accounts_are_one_per_currency PRIMARY KEY (organization_id, currency);

ALTER TABLE payout_accounts ADD CONSTRAINT payout_accounts_belong_to_one UNIQUE (stripe_account_id);

ALTER TABLE payout_accounts ADD CONSTRAINT payout_accounts_organization_id_organizations_id_fk FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE payouts ADD CONSTRAINT payouts_amount_is_positive CHECK ((amount_micros > 0));

ALTER TABLE payouts ADD CONSTRAINT payouts_amount_is_whole_cents CHECK (((amount_micros % (1000000)::bigint) = 0));

ALTER TABLE payouts ADD CONSTRAINT payouts_are_asked_for_once UNIQUE (organization_id, currency, idempotency_key);

ALTER TABLE payouts ADD CONSTRAINT payouts_end_when_they_end CHECK (((status = 'requested'::text) = (ended_at IS NULL)));

ALTER TABLE payouts ADD CONSTRAINT payouts_organization_id_organizations_id_fk FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE payouts ADD CONSTRAINT payouts_pkey PRIMARY KEY (id);

ALTER TABLE payouts ADD CONSTRAINT payouts_return_at_most_the_amount CHECK (((returned_micros >= 0) AND (returned_micros <= amount_micros)));

ALTER TABLE payouts ADD CONSTRAINT payouts_that_failed_came_back CHECK (((status = 'failed'::text) = (returned_micros = amount_micros)));

ALTER TABLE price_listings ADD CONSTRAINT price_listings_are_one_per_key_and_agent PRIMARY KEY (key_id, agent_id);

ALTER TABLE price_listings ADD CONSTRAINT price_listings_number_is_positive CHECK ((price_number >= 1));

ALTER TABLE proof_chains ADD CONSTRAINT proof_chains_are_one_per_day PRIMARY KEY (day, account_id);

ALTER TABLE proof_chains ADD CONSTRAINT proof_chains_day_proofs_day_fk FOREIGN KEY (day) REFERENCES proofs(day);

ALTER TABLE proof_chains ADD CONSTRAINT proof_chains_have_a_leaf_each UNIQUE (day, leaf);

ALTER TABLE proofs ADD CONSTRAINT proofs_pkey PRIMARY KEY (day);

ALTER TABLE receipt_chains ADD CONSTRAINT receipt_chains_pkey PRIMARY KEY (account_id);

ALTER TABLE receipts ADD CONSTRAINT receipts_are_counted_from_one CHECK ((seq >= 1));

ALTER TABLE receipts ADD CONSTRAINT receipts_have_one_place_in_their_chain UNIQUE (account_id, seq);

ALTER TABLE receipts ADD CONSTRAINT receipts_pkey PRIMARY KEY (call_id);

ALTER TABLE signing_keys ADD CONSTRAINT signing_keys_pkey PRIMARY KEY (key_id);

ALTER TABLE spend_meters ADD CONSTRAINT meters_day_is_part_of_month CHECK ((used_day <= used_month));

ALTER TABLE spend_meters ADD CONSTRAINT meters_month_is_part_of_total CHECK ((used_month <= used_total));

ALTER TABLE spend_meters ADD CONSTRAINT meters_used_is_not_negative CHECK (((used_day >= 0) AND (used_month >= 0) AND (used_total >= 0)));

ALTER TABLE spend_meters ADD CONSTRAINT spend_meters_pkey PRIMARY KEY (id);

ALTER TABLE stripe_customers ADD CONSTRAINT stripe_customers_are_one_per_currency PRIMARY KEY (organization_id, currency);

ALTER TABLE stripe_customers ADD CONSTRAINT stripe_customers_belong_to_one UNIQUE (customer_id);

ALTER TABLE stripe_customers ADD CONSTRAINT stripe_customers_organization_id_organizations_id_fk FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE stripe_events ADD CONSTRAINT stripe_events_pkey PRIMARY KEY (id);

ALTER TABLE top_ups ADD CONSTRAINT top_ups_amount_is_positive CHECK ((amount_cents > 0));

ALTER TABLE top_ups ADD CONSTRAINT top_ups_are_asked_for_once UNIQUE (organization_id, currency, idempotency_key);

ALTER TABLE top_ups ADD CONSTRAINT top_ups_organization_id_organizations_id_fk FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE top_ups ADD CONSTRAINT top_ups_pkey PRIMARY KEY (id);

ALTER TABLE top_ups ADD CONSTRAINT top_ups_refunds_fail_at_most_in_full CHECK (((failed_refund_cents >= 0) AND (failed_refund_cents <= refunded_cents)));

ALTER TABLE top_ups ADD CONSTRAINT top_ups_take_back_at_most_the_lot CHECK (((frozen_micros >= 0) AND (reversed_micros >= 0) AND (owed_micros >= 0) AND (((frozen_micros + reversed_micros) + owed_micros) <= (amount_cents * 1000000))));

ALTER TABLE top_ups ADD CONSTRAINT top_ups_take_back_only_what_was_paid CHECK (((status = 'paid'::text) OR (((frozen_micros + reversed_micros) + owed_micros) = 0)));

ALTER TABLE webhook_attempts ADD CONSTRAINT webhook_attempts_delivery_id_webhook_deliveries_id_fk FOREIGN KEY (delivery_id) REFERENCES webhook_deliveries(id) ON DELETE CASCADE;

ALTER TABLE webhook_attempts ADD CONSTRAINT webhook_attempts_pkey PRIMARY KEY (id);

ALTER TABLE webhook_cursor ADD CONSTRAINT webhook_cursor_is_one_row CHECK ((id = 1));

ALTER TABLE webhook_cursor ADD CONSTRAINT webhook_cursor_pkey PRIMARY KEY (id);

ALTER TABLE webhook_deliveries ADD CONSTRAINT webhook_deliveries_are_made_once UNIQUE (endpoint_id, event_id);

ALTER TABLE webhook_deliveries ADD CONSTRAINT webhook_deliveries_endpoint_id_webhook_endpoints_id_fk FOREIGN KEY (endpoint_id) REFERENCES webhook_endpoints(id) ON DELETE CASCADE;

ALTER TABLE webhook_deliveries ADD CONSTRAINT webhook_deliveries_only_pending_are_leased CHECK (((leased_until IS NULL) OR (status = 'pending'::text)));

ALTER TABLE webhook_deliveries ADD CONSTRAINT webhook_deliveries_pending_have_a_time CHECK (((status = 'pending'::text) = (next_attempt_at IS NOT NULL)));

ALTER TABLE webhook_deliveries ADD CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id);

ALTER TABLE webhook_endpoints ADD CONSTRAINT webhook_endpoints_deleted_are_disabled CHECK (((deleted_at IS NULL) OR is_disabled));

ALTER TABLE webhook_endpoints ADD CONSTRAINT webhook_endpoints_old_secret_expires CHECK (((previous_secret IS NULL) = (previous_secret_expires_at IS NULL)));

ALTER TABLE webhook_endpoints ADD CONSTRAINT webhook_endpoints_organization_id_organizations_id_fk FOREIGN KEY (organization_id) REFERENCES organizations(id);

ALTER TABLE webhook_endpoints ADD CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (id);
