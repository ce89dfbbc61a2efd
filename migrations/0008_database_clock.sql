-- What time it is for all that is due: payouts, disputes, top-ups, webhooks. It is the database's own clock, and
-- nothing can be set that shifts it. PostgreSQL puts the body in the place of the call, so it costs no more than now().
CREATE FUNCTION database_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT now()';--> statement-breakpoint

-- Processes used to go by clocks of their own, and one that was ahead left times that are still to come. First they
-- are put right.
--
-- A release that ran ahead of its time wrote that everything up to a later moment was released, and what was settled
-- until then stayed with the earnings for good. What is on the account is what was not released, so the release is
-- taken to have reached the moment after which just as much was settled. Releases are kept and compared in whole
-- milliseconds, so calls are counted by the millisecond they belong to.
CREATE TEMPORARY VIEW settled_proceeds AS
  SELECT j.credit AS account_id, j.seq, j.created_at, j.amount - j.fee - coalesce((
    SELECT sum(CASE d.kind WHEN 'dispute' THEN d.amount ELSE -d.amount END) FROM ledger_journal d
    WHERE d.subject = j.id
      AND (d.kind = 'dispute' AND d.debit = j.credit OR d.kind = 'dispute_rejected' AND d.credit = j.credit)), 0) AS proceeds
  FROM ledger_journal j WHERE j.kind = 'settle';--> statement-breakpoint
DO $$
DECLARE
  v_release record;
  v_settled record;
  v_left bigint;
  v_through timestamptz;
BEGIN
  FOR v_release IN
    SELECT r.account_id, a.posted FROM earning_releases r JOIN ledger_accounts a ON a.id = r.account_id
    WHERE r.released_through > now() OR a.posted > (
      SELECT coalesce(sum(s.proceeds), 0) FROM settled_proceeds s
      WHERE s.account_id = r.account_id AND s.created_at > r.released_through
        AND s.seq >= ledger_first_seq(r.account_id, r.released_through))
  LOOP
    v_left := v_release.posted;
    v_through := date_trunc('milliseconds', now());
    FOR v_settled IN
      SELECT date_trunc('milliseconds', created_at + interval '999 microseconds') AS at, sum(proceeds) AS proceeds
      FROM settled_proceeds WHERE account_id = v_release.account_id GROUP BY 1 ORDER BY 1 DESC
    LOOP
      EXIT WHEN v_left = 0;
      IF v_settled.proceeds > v_left THEN
        v_through := v_settled.at;
        EXIT;
      END IF;
      v_left := v_left - v_settled.proceeds;
      v_through := v_settled.at - interval '1 millisecond';
    END LOOP;
    UPDATE earning_releases SET released_through = least(released_through, v_through)
      WHERE account_id = v_release.account_id;
  END LOOP;
END $$;--> statement-breakpoint
DROP VIEW settled_proceeds;--> statement-breakpoint
UPDATE disputes SET opened_at = least(opened_at, now()), answer_by = now() + interval '72 hours'
  WHERE status = 'open' AND answer_by > now() + interval '72 hours';--> statement-breakpoint
UPDATE payout_accounts SET last_scheduled_on = (now() AT TIME ZONE 'utc')::date
  WHERE last_scheduled_on > (now() AT TIME ZONE 'utc')::date;--> statement-breakpoint
UPDATE payouts SET claimed_until = now() + interval '5 minutes'
  WHERE status = 'requested' AND claimed_until > now() + interval '5 minutes';--> statement-breakpoint
-- The longest wait between two attempts is 8 hours and a tenth, and the longest lease a minute.
UPDATE webhook_deliveries SET next_attempt_at = least(next_attempt_at, now() + interval '9 hours'),
    leased_until = least(leased_until, now() + interval '1 minute')
  WHERE status = 'pending' AND (next_attempt_at > now() + interval '9 hours' OR leased_until > now() + interval '1 minute');--> statement-breakpoint
UPDATE webhook_endpoints SET previous_secret_expires_at = now() + interval '24 hours'
  WHERE previous_secret_expires_at > now() + interval '24 hours';--> statement-breakpoint
UPDATE top_ups SET created_at = least(created_at, now()), expires_at = least(expires_at, now() + interval '24 hours')
  WHERE status = 'open' AND created_at > now();--> statement-breakpoint

-- From here on the database itself refuses what comes too early, whoever asks: a process of an earlier version with a
-- clock of its own, or a mistake of ours.
CREATE FUNCTION earnings_wait_for_the_dispute_window() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- DISPUTE_WINDOW_MS of billing.
  IF NEW.released_through > database_now() - interval '7 days' THEN
    RAISE EXCEPTION 'what was settled until % may still be disputed', NEW.released_through
      USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NEW;
END $$;--> statement-breakpoint
CREATE TRIGGER earning_releases_wait_for_the_dispute_window BEFORE INSERT OR UPDATE OF released_through ON earning_releases
  FOR EACH ROW EXECUTE FUNCTION earnings_wait_for_the_dispute_window();--> statement-breakpoint

CREATE FUNCTION dispute_leaves_time_to_answer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- ANSWER_MS of billing, less what a process of an earlier version takes from reading its clock to this.
  IF NEW.answer_by < database_now() + interval '72 hours' - interval '1 minute' THEN
    RAISE EXCEPTION 'a seller has 72 hours to answer, and not until %', NEW.answer_by
      USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NEW;
END $$;--> statement-breakpoint
CREATE TRIGGER disputes_leave_time_to_answer BEFORE INSERT ON disputes
  FOR EACH ROW WHEN (NEW.status = 'open') EXECUTE FUNCTION dispute_leaves_time_to_answer();--> statement-breakpoint

CREATE FUNCTION silence_waits_for_the_deadline() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF database_now() < OLD.answer_by OR NEW.answer_by <> OLD.answer_by THEN
    RAISE EXCEPTION 'the seller may answer until %', OLD.answer_by
      USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NEW;
END $$;--> statement-breakpoint
CREATE TRIGGER disputes_silence_waits_for_the_deadline BEFORE UPDATE ON disputes
  FOR EACH ROW WHEN (NEW.decided_by = 'silence' AND OLD.decided_by IS NULL) EXECUTE FUNCTION silence_waits_for_the_deadline();
