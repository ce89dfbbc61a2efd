-- Every call that reached a hold has a receipt, written in the statement that resolves the hold, and the
-- receipts of one balance form a chain: each carries the SHA-256 of the one before.
DROP FUNCTION ledger_expire(int);--> statement-breakpoint
DROP FUNCTION ledger_expire_batch(uuid[]);--> statement-breakpoint
DROP FUNCTION ledger_apply;--> statement-breakpoint
DROP FUNCTION ledger_transfer(uuid, text, bigint, bigint, bigint);--> statement-breakpoint
ALTER TABLE receipt_chains SET (fillfactor = 30, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0);--> statement-breakpoint

-- Appends receipts to the chains of their balances, whose rows in `ledger_accounts` this transaction has
-- locked. A template is a JSON text with the places %1$s for the hash of the receipt before and %2$s for the
-- receipt's number. Answers both for each, in the order asked; only a receipt whose code is 1 is
-- written, since the others' holds were not resolved by this batch; one with code 2 was, by an earlier attempt.
CREATE FUNCTION receipts_append(p_call uuid[], p_account bigint[], p_template text[], p_codes text, OUT prevs text[], OUT seqs bigint[])
LANGUAGE plpgsql AS $$
DECLARE
  v_account bigint; v_prev text; v_seq bigint;
  v_calls uuid[] := '{}'; v_accounts bigint[] := '{}'; v_seqs bigint[] := '{}'; v_payloads text[] := '{}';
  v_ends bigint[] := '{}'; v_heads text[] := '{}'; v_lengths bigint[] := '{}';
  v_payload text;
  r record;
BEGIN
  prevs := '{}';
  seqs := '{}';
  IF p_template IS NULL THEN RETURN; END IF;
  prevs := array_fill(NULL::text, ARRAY[cardinality(p_call)]);
  seqs := array_fill(NULL::bigint, ARRAY[cardinality(p_call)]);
  FOR r IN
    SELECT w.ord::int, w.call, w.account, w.template, c.seq, encode(c.head, 'hex') AS head
    FROM unnest(p_call, p_account, p_template) WITH ORDINALITY AS w (call, account, template, ord)
    LEFT JOIN receipt_chains c ON c.account_id = w.account
    WHERE w.template IS NOT NULL AND substr(p_codes, w.ord::int, 1) = '1'
    ORDER BY w.account, w.ord
  LOOP
    IF v_account IS DISTINCT FROM r.account THEN
      IF v_account IS NOT NULL THEN
        v_ends := v_ends || v_account; v_heads := v_heads || v_prev; v_lengths := v_lengths || v_seq;
      END IF;
      v_account := r.account;
      v_seq := coalesce(r.seq, 0);
      v_prev := coalesce(r.head, repeat('0', 64));
    END IF;
    v_seq := v_seq + 1;
    prevs[r.ord] := v_prev;
    seqs[r.ord] := v_seq;
    v_payload := format(r.template, v_prev, v_seq);
    v_prev := encode(sha256(convert_to(v_payload, 'UTF8')), 'hex');
    v_calls := v_calls || r.call; v_accounts := v_accounts || r.account;
    v_seqs := v_seqs || v_seq; v_payloads := v_payloads || v_payload;
  END LOOP;
  -- Filed by an earlier attempt at the same batch, whose answer was lost: there it stands.
  IF position('2' IN p_codes) > 0 THEN FOR r IN
    SELECT i.ord::int, w.seq, encode(sha256(convert_to(before.payload, 'UTF8')), 'hex') AS prev
    FROM unnest(p_call) WITH ORDINALITY AS i (call, ord)
    JOIN receipts w ON w.call_id = i.call
    LEFT JOIN receipts before ON before.account_id = w.account_id AND before.seq = w.seq - 1
    WHERE substr(p_codes, i.ord::int, 1) = '2'
  LOOP
    prevs[r.ord] := coalesce(r.prev, repeat('0', 64));
    seqs[r.ord] := r.seq;
  END LOOP; END IF;
  IF v_account IS NULL THEN RETURN; END IF;
  v_ends := v_ends || v_account; v_heads := v_heads || v_prev; v_lengths := v_lengths || v_seq;
  INSERT INTO receipts (call_id, account_id, seq, payload)
    SELECT * FROM unnest(v_calls, v_accounts, v_seqs, v_payloads);
  INSERT INTO receipt_chains AS c (account_id, seq, head)
    SELECT account, seq, decode(head, 'hex') FROM unnest(v_ends, v_lengths, v_heads) AS w (account, seq, head)
    ON CONFLICT (account_id) DO UPDATE SET seq = excluded.seq, head = excluded.head;
END $$;--> statement-breakpoint
CREATE FUNCTION receipts_are_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a receipt is never changed' USING ERRCODE = 'restrict_violation';
END $$;--> statement-breakpoint
CREATE TRIGGER receipts_are_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON receipts
  FOR EACH STATEMENT EXECUTE FUNCTION receipts_are_immutable();--> statement-breakpoint

-- Applies one batch: first the resolutions of open holds, then new holds, each decided on its own in the
-- order it arrived. Answers one character for each.
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
-- statement that waited: whatever a lock protects is read by a later statement.
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
  -- The meter of each hold's whole balance, 0 without one.
  h_budget bigint[]; v_budgeted boolean;
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
      (SELECT array_agg(meter_id) FROM resolved WHERE meter_id IS NOT NULL)
        || (SELECT array_agg(budget_meter_id) FROM resolved WHERE budget_meter_id IS NOT NULL),
      (SELECT array_agg(metered_on) FROM resolved WHERE meter_id IS NOT NULL)
        || (SELECT array_agg(budget_metered_on) FROM resolved WHERE budget_meter_id IS NOT NULL),
      (SELECT array_agg(amount - charge) FROM resolved WHERE meter_id IS NOT NULL)
        || (SELECT array_agg(amount - charge) FROM resolved WHERE budget_meter_id IS NOT NULL),
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

  SELECT bool_or(locked.meter_id IS NOT NULL) INTO v_budgeted
  FROM (SELECT meter_id FROM ledger_accounts WHERE id = ANY (d_account || h_buyer) ORDER BY id FOR NO KEY UPDATE) locked;
  h_budget := array_fill(0::bigint, ARRAY[cardinality(h_id)]);
  IF v_budgeted AND cardinality(h_id) > 0 THEN
    SELECT array_agg(coalesce(a.meter_id, 0) ORDER BY w.ord) INTO h_budget
    FROM unnest(h_buyer) WITH ORDINALITY AS w (buyer, ord) LEFT JOIN ledger_accounts a ON a.id = w.buyer;
  END IF;

  IF p_metered OR v_budgeted OR g_meter IS NOT NULL THEN
    v_meters := array_remove(coalesce(g_meter, '{}') || h_meter || h_budget, 0);
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

    IF p_metered OR v_budgeted THEN
      SELECT coalesce(v_contested, '{}') || coalesce(array_agg(n.buyer), '{}') INTO v_contested
      FROM (
        SELECT meter, buyer, sum(amount)::bigint AS need
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
        SELECT meter, sum(amount)::bigint AS need
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
        SELECT w.ord, w.buyer, w.amount, w.meter, w.budget,
          a.posted - a.held + coalesce((
            SELECT d.posted - d.held FROM unnest(d_account, d_posted, d_held) AS d (account, posted, held)
            WHERE d.account = w.buyer), 0) AS available
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
    SELECT id, buyer, seller, fees, amount, key, agent, version, input,
      nullif(meter, 0), CASE WHEN meter <> 0 THEN (SELECT m.day FROM spend_meters m WHERE m.id = meter) END,
      nullif(budget, 0), CASE WHEN budget <> 0 THEN (SELECT m.day FROM spend_meters m WHERE m.id = budget) END,
      ord = ANY (i_ord), v_now, v_now + ttl_ms * interval '1 millisecond'
    FROM unnest(h_id, h_buyer, h_seller, h_fees, h_amount, h_key, h_agent, h_version, h_input, h_meter, h_budget,
        h_ttl_ms, v_codes)
      WITH ORDINALITY AS w (id, buyer, seller, fees, amount, key, agent, version, input, meter, budget, ttl_ms, code, ord)
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
    PERFORM ledger_expire_batch(v_holds);
  EXCEPTION WHEN OTHERS THEN
    v_ids := '{}';
    FOREACH v_hold IN ARRAY v_holds LOOP
      BEGIN
        PERFORM ledger_expire_batch(ARRAY[v_hold]);
        v_ids := v_ids || v_hold.id;
      EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'the expired hold of call % cannot be refunded: %', v_hold.id, SQLERRM;
      END;
    END LOOP;
  END;
  RETURN QUERY SELECT h.id, h.key_id, h.agent_id, h.amount, h.buyer, h.created_at FROM unnest(v_holds) AS h
    WHERE h.id = ANY (v_ids);
END $$;--> statement-breakpoint

-- Nobody is left to say what such a receipt should tell, so it is made of what the hold remembers. A hold
-- without terms was placed by something that wants no receipt.
CREATE FUNCTION ledger_expire_batch(p_holds ledger_holds[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_ids uuid[] := ARRAY(SELECT h.id FROM unnest(p_holds) AS h ORDER BY h.id);
  v_count int := cardinality(p_holds);
  v_codes text;
BEGIN
  SELECT settle_codes INTO v_codes FROM ledger_apply(false,
    v_ids, array_fill('expire'::text, ARRAY[v_count]), array_fill(0::bigint, ARRAY[v_count]),
    array_fill(0::bigint, ARRAY[v_count]),
    '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', false, '{}', '{}', '{}', '{}', '{}', '{}', interval '0');
  PERFORM receipts_append(array_agg(h.id ORDER BY h.id), array_agg(h.buyer ORDER BY h.id), array_agg(
      CASE WHEN h.input_hash IS NOT NULL THEN
        replace(concat('{"agent_id":', to_json(h.agent_id), ',"agent_version":', coalesce(to_json(h.agent_version)::text, 'null'),
          ',"call_id":"call_', replace(h.id::text, '-', ''), '","charged":"0","code":"INTERNAL","currency":', to_json(a.currency),
          ',"ended_at":', receipt_time(clock_timestamp()), ',"fee":"0","held":"',
          (h.amount / 1000000)::text, rtrim(rtrim('.' || lpad((h.amount % 1000000)::text, 6, '0'), '0'), '.'),
          '","input_hash":', to_json(h.input_hash), ',"key_id":', to_json(h.key_id),
          ',"manifest_hash":', coalesce(to_json(v.manifest_hash)::text, 'null'), ',"organization_id":', to_json(a.organization_id),
          ',"outcome":"refunded","output_hash":null,"prev":"'), '%', '%%')
        || '%1$s","seq":%2$s' || replace(concat(',"started_at":', receipt_time(h.created_at), ',"v":1}'), '%', '%%')
      END ORDER BY h.id), v_codes)
  FROM unnest(p_holds) AS h
  JOIN ledger_accounts a ON a.id = h.buyer
  LEFT JOIN agent_versions v ON v.agent_id = h.agent_id AND v.version = h.agent_version;
END $$;--> statement-breakpoint

-- A moment as receipts write it, in JSON.
CREATE FUNCTION receipt_time(p_at timestamptz) RETURNS text LANGUAGE sql AS $$
  SELECT '"' || to_char(p_at AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') || '"';
$$;--> statement-breakpoint

-- Moves credits between two accounts outside a call: a grant, a top-up, a payout. The id makes it happen
-- once: false says that it had happened before, exactly so.
CREATE FUNCTION ledger_transfer(p_id uuid, p_kind text, p_debit bigint, p_credit bigint, p_amount bigint, p_subject uuid DEFAULT NULL)
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
  INSERT INTO ledger_journal (id, kind, debit, credit, amount, subject) VALUES (p_id, p_kind, p_debit, p_credit, p_amount, p_subject);
  UPDATE ledger_accounts SET posted = posted - p_amount WHERE id = p_debit;
  UPDATE ledger_accounts SET posted = posted + p_amount WHERE id = p_credit;
  RETURN true;
END $$;--> statement-breakpoint
-- A number to start at when the movements of an account since `p_since` are wanted: none of them has a lower
-- one. Rows are numbered when they are written and dated when their transaction began, so the two orders are
-- not quite the same; the hour is far above the longest transaction and any step of a clock. By halving, so
-- that an account with a long history costs some thirty look-ups in the indexes.
CREATE FUNCTION ledger_first_seq(p_account bigint, p_since timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
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
END $$;--> statement-breakpoint

-- Takes one of a buyer's free calls of an agent in a month for a call: `taken`; or says why not: `used_up` when
-- as many as there are have been settled, `under_way` when some of those that make it so may still be refunded.
-- A call counts while its hold is open, when it was settled, and for a minute before it has a hold.
--
-- The month's row is the lock, and what it protects is read by later statements. What has ended since is counted
-- there and forgotten, so the work does not grow with the number of free calls. The commit is not waited for:
-- the hold that follows is written behind it in the same log, and is what must last.
CREATE FUNCTION free_call_take(p_call uuid, p_account bigint, p_agent text, p_month date, p_limit int)
RETURNS text LANGUAGE plpgsql AS $$
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
END $$;--> statement-breakpoint

-- From the first row of the journal: whoever wants to hear starts when its endpoint was made.
INSERT INTO webhook_cursor (id, seq, mark_seq, mark_writers) VALUES (1, 0, 0, '{}');
