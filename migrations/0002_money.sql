CREATE TABLE "events" (
	"id" uuid PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"currency" text NOT NULL,
	"type" text NOT NULL,
	"data" json NOT NULL,
	"occurred_at" timestamp with time zone DEFAULT now() NOT NULL,
	"fanned_out_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "proof_chains" (
	"day" date NOT NULL,
	"account_id" bigint NOT NULL,
	"leaf" integer NOT NULL,
	"seq" bigint NOT NULL,
	"head" "bytea" NOT NULL,
	CONSTRAINT "proof_chains_are_one_per_day" PRIMARY KEY("day","account_id"),
	CONSTRAINT "proof_chains_have_a_leaf_each" UNIQUE("day","leaf")
);
--> statement-breakpoint
CREATE TABLE "proofs" (
	"day" date PRIMARY KEY NOT NULL,
	"jws" text NOT NULL,
	"tree" "bytea" NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "receipt_chains" (
	"account_id" bigint PRIMARY KEY NOT NULL,
	"seq" bigint NOT NULL,
	"head" "bytea" NOT NULL
);
--> statement-breakpoint
CREATE TABLE "receipts" (
	"call_id" uuid PRIMARY KEY NOT NULL,
	"account_id" bigint NOT NULL,
	"seq" bigint NOT NULL,
	"payload" text NOT NULL,
	CONSTRAINT "receipts_have_one_place_in_their_chain" UNIQUE("account_id","seq"),
	CONSTRAINT "receipts_are_counted_from_one" CHECK ("receipts"."seq" >= 1)
);
--> statement-breakpoint
CREATE TABLE "signing_keys" (
	"key_id" text PRIMARY KEY NOT NULL,
	"public_jwk" json NOT NULL,
	"first_used_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "auto_top_ups" (
	"organization_id" text NOT NULL,
	"currency" text NOT NULL,
	"is_enabled" boolean NOT NULL,
	"threshold_micros" bigint NOT NULL,
	"amount_cents" bigint NOT NULL,
	"monthly_ceiling_cents" bigint NOT NULL,
	"failure" text,
	CONSTRAINT "auto_top_ups_are_one_per_currency" PRIMARY KEY("organization_id","currency"),
	CONSTRAINT "auto_top_ups_amount_fits_the_ceiling" CHECK ("auto_top_ups"."amount_cents" <= "auto_top_ups"."monthly_ceiling_cents")
);
--> statement-breakpoint
CREATE TABLE "balance_alerts" (
	"organization_id" text NOT NULL,
	"currency" text NOT NULL,
	"threshold_micros" bigint NOT NULL,
	"told_at" timestamp with time zone,
	CONSTRAINT "balance_alerts_are_one_per_currency" PRIMARY KEY("organization_id","currency")
);
--> statement-breakpoint
CREATE TABLE "budget_notices" (
	"meter_id" bigint NOT NULL,
	"window" text NOT NULL,
	"starts_on" date NOT NULL,
	"percent" integer NOT NULL,
	"cap_micros" bigint NOT NULL,
	"told_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "budget_notices_are_told_once" PRIMARY KEY("meter_id","window","starts_on","percent","cap_micros")
);
--> statement-breakpoint
CREATE TABLE "card_disputes" (
	"dispute_id" text PRIMARY KEY NOT NULL,
	"top_up_id" uuid NOT NULL,
	"state" text NOT NULL,
	"cents" bigint NOT NULL,
	CONSTRAINT "card_disputes_state_is_known" CHECK ("card_disputes"."state" in ('open', 'won', 'lost')),
	CONSTRAINT "card_disputes_cents_are_not_negative" CHECK ("card_disputes"."cents" >= 0)
);
--> statement-breakpoint
CREATE TABLE "disputes" (
	"id" uuid PRIMARY KEY NOT NULL,
	"call_id" uuid NOT NULL,
	"buyer_id" text NOT NULL,
	"seller_id" text NOT NULL,
	"currency" text NOT NULL,
	"agent_id" text NOT NULL,
	"key_id" text NOT NULL,
	"reason" text NOT NULL,
	"description" text NOT NULL,
	"charged_micros" bigint NOT NULL,
	"claimed_micros" bigint NOT NULL,
	"claimed_fee_micros" bigint NOT NULL,
	"duplicate_of" uuid,
	"status" text NOT NULL,
	"decided_by" text,
	"refunded_micros" bigint,
	"explanation" text,
	"set_aside_txn" uuid NOT NULL,
	"reversal_txn" uuid NOT NULL,
	"fee_reversal_txn" uuid NOT NULL,
	"return_txn" uuid NOT NULL,
	"opened_at" timestamp with time zone NOT NULL,
	"answer_by" timestamp with time zone NOT NULL,
	"decided_at" timestamp with time zone,
	CONSTRAINT "disputes_are_one_per_call" UNIQUE("call_id"),
	CONSTRAINT "disputes_claim_at_most_the_charge" CHECK ("disputes"."claimed_micros" between 1 and "disputes"."charged_micros"),
	CONSTRAINT "disputes_fee_is_part_of_the_claim" CHECK ("disputes"."claimed_fee_micros" between 0 and "disputes"."claimed_micros"),
	CONSTRAINT "disputes_refund_at_most_the_claim" CHECK ("disputes"."refunded_micros" between 0 and "disputes"."claimed_micros"),
	CONSTRAINT "disputes_are_decided_by_someone" CHECK (("disputes"."status" = 'open') = ("disputes"."decided_by" is null) and ("disputes"."status" = 'open') = ("disputes"."decided_at" is null))
);
--> statement-breakpoint
CREATE TABLE "earning_releases" (
	"account_id" bigint PRIMARY KEY NOT NULL,
	"released_through" timestamp with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "payout_accounts" (
	"organization_id" text NOT NULL,
	"currency" text NOT NULL,
	"stripe_account_id" text,
	"is_ready" boolean DEFAULT false NOT NULL,
	"requirements" text[] NOT NULL,
	"schedule" text NOT NULL,
	"minimum_micros" bigint NOT NULL,
	"last_scheduled_on" date,
	CONSTRAINT "payout_accounts_are_one_per_currency" PRIMARY KEY("organization_id","currency"),
	CONSTRAINT "payout_accounts_belong_to_one" UNIQUE("stripe_account_id")
);
--> statement-breakpoint
CREATE TABLE "payouts" (
	"id" uuid PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"currency" text NOT NULL,
	"account_id" bigint NOT NULL,
	"asked_micros" bigint,
	"amount_micros" bigint NOT NULL,
	"status" text NOT NULL,
	"stripe_account_id" text NOT NULL,
	"transfer_id" text,
	"failure" text,
	"return_txn" uuid NOT NULL,
	"returned_micros" bigint DEFAULT 0 NOT NULL,
	"claimed_until" timestamp with time zone,
	"idempotency_key" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"ended_at" timestamp with time zone,
	CONSTRAINT "payouts_are_asked_for_once" UNIQUE("organization_id","currency","idempotency_key"),
	CONSTRAINT "payouts_amount_is_positive" CHECK ("payouts"."amount_micros" > 0),
	CONSTRAINT "payouts_amount_is_whole_cents" CHECK ("payouts"."amount_micros" % 1000000 = 0),
	CONSTRAINT "payouts_return_at_most_the_amount" CHECK ("payouts"."returned_micros" between 0 and "payouts"."amount_micros"),
	CONSTRAINT "payouts_that_failed_came_back" CHECK (("payouts"."status" = 'failed') = ("payouts"."returned_micros" = "payouts"."amount_micros")),
	CONSTRAINT "payouts_end_when_they_end" CHECK (("payouts"."status" = 'requested') = ("payouts"."ended_at" is null))
);
--> statement-breakpoint
CREATE TABLE "stripe_customers" (
	"organization_id" text NOT NULL,
	"currency" text NOT NULL,
	"customer_id" text NOT NULL,
	"payment_method_id" text,
	"card_brand" text,
	"card_last_four" text,
	CONSTRAINT "stripe_customers_are_one_per_currency" PRIMARY KEY("organization_id","currency"),
	CONSTRAINT "stripe_customers_belong_to_one" UNIQUE("customer_id")
);
--> statement-breakpoint
CREATE TABLE "stripe_events" (
	"id" text PRIMARY KEY NOT NULL,
	"type" text NOT NULL,
	"received_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "top_ups" (
	"id" uuid PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"currency" text NOT NULL,
	"account_id" bigint NOT NULL,
	"key_id" text,
	"is_automatic" boolean NOT NULL,
	"idempotency_key" text,
	"amount_cents" bigint NOT NULL,
	"status" text NOT NULL,
	"failure" text,
	"session_id" text,
	"payment_url" text,
	"payment_intent_id" text,
	"charge_id" text,
	"receipt_url" text,
	"invoice_id" text,
	"invoice_url" text,
	"saves_card" boolean DEFAULT false NOT NULL,
	"refunded_cents" bigint DEFAULT 0 NOT NULL,
	"card_dispute" text DEFAULT 'none' NOT NULL,
	"card_dispute_cents" bigint DEFAULT 0 NOT NULL,
	"lost_cents" bigint DEFAULT 0 NOT NULL,
	"frozen_micros" bigint DEFAULT 0 NOT NULL,
	"reversed_micros" bigint DEFAULT 0 NOT NULL,
	"owed_micros" bigint DEFAULT 0 NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"paid_at" timestamp with time zone,
	CONSTRAINT "top_ups_are_asked_for_once" UNIQUE("organization_id","currency","idempotency_key"),
	CONSTRAINT "top_ups_amount_is_positive" CHECK ("top_ups"."amount_cents" > 0),
	CONSTRAINT "top_ups_refund_at_most_the_amount" CHECK ("top_ups"."refunded_cents" between 0 and "top_ups"."amount_cents"),
	CONSTRAINT "top_ups_take_back_at_most_the_lot" CHECK ("top_ups"."frozen_micros" >= 0 and "top_ups"."reversed_micros" >= 0 and "top_ups"."owed_micros" >= 0 and "top_ups"."frozen_micros" + "top_ups"."reversed_micros" + "top_ups"."owed_micros" <= "top_ups"."amount_cents" * 1000000),
	CONSTRAINT "top_ups_take_back_only_what_was_paid" CHECK ("top_ups"."status" = 'paid' or "top_ups"."frozen_micros" + "top_ups"."reversed_micros" + "top_ups"."owed_micros" = 0)
);
--> statement-breakpoint
CREATE TABLE "free_call_months" (
	"account_id" bigint NOT NULL,
	"agent_id" text NOT NULL,
	"month" date NOT NULL,
	"settled_calls" integer DEFAULT 0 NOT NULL,
	CONSTRAINT "free_call_months_are_counted_once" PRIMARY KEY("account_id","agent_id","month"),
	CONSTRAINT "free_call_months_count_up" CHECK ("free_call_months"."settled_calls" >= 0)
);
--> statement-breakpoint
CREATE TABLE "free_calls" (
	"call_id" uuid PRIMARY KEY NOT NULL,
	"account_id" bigint NOT NULL,
	"agent_id" text NOT NULL,
	"month" date NOT NULL,
	"taken_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "price_listings" (
	"key_id" text NOT NULL,
	"agent_id" text NOT NULL,
	"price_number" integer NOT NULL,
	CONSTRAINT "price_listings_are_one_per_key_and_agent" PRIMARY KEY("key_id","agent_id"),
	CONSTRAINT "price_listings_number_is_positive" CHECK ("price_listings"."price_number" >= 1)
);
--> statement-breakpoint
CREATE TABLE "ledger_month_ends" (
	"account_id" bigint NOT NULL,
	"month" date NOT NULL,
	"posted" bigint NOT NULL,
	CONSTRAINT "month_ends_are_one_per_account" PRIMARY KEY("account_id","month")
);
--> statement-breakpoint
CREATE TABLE "webhook_attempts" (
	"id" bigserial PRIMARY KEY NOT NULL,
	"delivery_id" uuid NOT NULL,
	"at" timestamp with time zone NOT NULL,
	"duration_ms" integer NOT NULL,
	"status" integer,
	"error" text,
	"answer" text
);
--> statement-breakpoint
CREATE TABLE "webhook_cursor" (
	"id" integer PRIMARY KEY NOT NULL,
	"seq" bigint NOT NULL,
	"mark_seq" bigint NOT NULL,
	"mark_writers" text[] NOT NULL,
	CONSTRAINT "webhook_cursor_is_one_row" CHECK ("webhook_cursor"."id" = 1)
);
--> statement-breakpoint
CREATE TABLE "webhook_deliveries" (
	"id" uuid PRIMARY KEY NOT NULL,
	"endpoint_id" uuid NOT NULL,
	"event_id" text NOT NULL,
	"event_type" text NOT NULL,
	"payload" json NOT NULL,
	"status" text DEFAULT 'pending' NOT NULL,
	"attempts" integer DEFAULT 0 NOT NULL,
	"next_attempt_at" timestamp with time zone,
	"leased_until" timestamp with time zone,
	"last_status" integer,
	"last_error" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"delivered_at" timestamp with time zone,
	CONSTRAINT "webhook_deliveries_are_made_once" UNIQUE("endpoint_id","event_id"),
	CONSTRAINT "webhook_deliveries_pending_have_a_time" CHECK (("webhook_deliveries"."status" = 'pending') = ("webhook_deliveries"."next_attempt_at" is not null)),
	CONSTRAINT "webhook_deliveries_only_pending_are_leased" CHECK ("webhook_deliveries"."leased_until" is null or "webhook_deliveries"."status" = 'pending')
);
--> statement-breakpoint
CREATE TABLE "webhook_endpoints" (
	"id" uuid PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"currency" text NOT NULL,
	"url" text NOT NULL,
	"description" text DEFAULT '' NOT NULL,
	"event_types" text[] NOT NULL,
	"secret" text NOT NULL,
	"previous_secret" text,
	"previous_secret_expires_at" timestamp with time zone,
	"is_disabled" boolean DEFAULT false NOT NULL,
	"disabled_reason" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"deleted_at" timestamp with time zone,
	CONSTRAINT "webhook_endpoints_old_secret_expires" CHECK (("webhook_endpoints"."previous_secret" is null) = ("webhook_endpoints"."previous_secret_expires_at" is null)),
	CONSTRAINT "webhook_endpoints_deleted_are_disabled" CHECK ("webhook_endpoints"."deleted_at" is null or "webhook_endpoints"."is_disabled")
);
--> statement-breakpoint
ALTER TABLE "call_results" DROP CONSTRAINT "call_results_answer_has_a_receipt";--> statement-breakpoint
ALTER TABLE "ledger_accounts" DROP CONSTRAINT "accounts_kind_is_known";--> statement-breakpoint
ALTER TABLE "ledger_journal" DROP CONSTRAINT "journal_kind_is_known";--> statement-breakpoint
ALTER TABLE "calls" ADD COLUMN "session" text;--> statement-breakpoint
ALTER TABLE "calls" ADD COLUMN "acting_for" text;--> statement-breakpoint
ALTER TABLE "calls" ADD COLUMN "is_over_reported" boolean DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE "ledger_accounts" ADD COLUMN "meter_id" bigint;--> statement-breakpoint
ALTER TABLE "ledger_holds" ADD COLUMN "budget_meter_id" bigint;--> statement-breakpoint
ALTER TABLE "ledger_holds" ADD COLUMN "budget_metered_on" date;--> statement-breakpoint
ALTER TABLE "ledger_holds" ADD COLUMN "agent_version" text;--> statement-breakpoint
ALTER TABLE "ledger_holds" ADD COLUMN "input_hash" text;--> statement-breakpoint
ALTER TABLE "ledger_journal" ADD COLUMN "subject" uuid;--> statement-breakpoint
-- A meter that is there already was opened at a time nobody wrote down, so it has none.
ALTER TABLE "spend_meters" ADD COLUMN "opened_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "spend_meters" ALTER COLUMN "opened_at" SET DEFAULT now();--> statement-breakpoint
ALTER TABLE "events" ADD CONSTRAINT "events_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "proof_chains" ADD CONSTRAINT "proof_chains_day_proofs_day_fk" FOREIGN KEY ("day") REFERENCES "public"."proofs"("day") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "auto_top_ups" ADD CONSTRAINT "auto_top_ups_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "balance_alerts" ADD CONSTRAINT "balance_alerts_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "card_disputes" ADD CONSTRAINT "card_disputes_top_up_id_top_ups_id_fk" FOREIGN KEY ("top_up_id") REFERENCES "public"."top_ups"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "disputes" ADD CONSTRAINT "disputes_buyer_id_organizations_id_fk" FOREIGN KEY ("buyer_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "disputes" ADD CONSTRAINT "disputes_seller_id_organizations_id_fk" FOREIGN KEY ("seller_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "payout_accounts" ADD CONSTRAINT "payout_accounts_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "payouts" ADD CONSTRAINT "payouts_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "stripe_customers" ADD CONSTRAINT "stripe_customers_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "top_ups" ADD CONSTRAINT "top_ups_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "webhook_attempts" ADD CONSTRAINT "webhook_attempts_delivery_id_webhook_deliveries_id_fk" FOREIGN KEY ("delivery_id") REFERENCES "public"."webhook_deliveries"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "webhook_deliveries" ADD CONSTRAINT "webhook_deliveries_endpoint_id_webhook_endpoints_id_fk" FOREIGN KEY ("endpoint_id") REFERENCES "public"."webhook_endpoints"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "webhook_endpoints" ADD CONSTRAINT "webhook_endpoints_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "events_to_fan_out" ON "events" USING btree ("id") WHERE "events"."fanned_out_at" is null;--> statement-breakpoint
CREATE INDEX "events_by_organization" ON "events" USING btree ("organization_id","id");--> statement-breakpoint
CREATE INDEX "card_disputes_by_top_up" ON "card_disputes" USING btree ("top_up_id");--> statement-breakpoint
CREATE INDEX "disputes_by_buyer" ON "disputes" USING btree ("buyer_id","id");--> statement-breakpoint
CREATE INDEX "disputes_by_seller" ON "disputes" USING btree ("seller_id","id");--> statement-breakpoint
CREATE INDEX "disputes_open" ON "disputes" USING btree ("answer_by") WHERE "disputes"."status" = 'open';--> statement-breakpoint
CREATE UNIQUE INDEX "payouts_transfer_is_unique" ON "payouts" USING btree ("transfer_id");--> statement-breakpoint
CREATE INDEX "payouts_by_organization" ON "payouts" USING btree ("organization_id","id");--> statement-breakpoint
CREATE INDEX "payouts_open" ON "payouts" USING btree ("created_at") WHERE "payouts"."status" = 'requested';--> statement-breakpoint
CREATE UNIQUE INDEX "top_ups_session_is_unique" ON "top_ups" USING btree ("session_id");--> statement-breakpoint
CREATE UNIQUE INDEX "top_ups_payment_intent_is_unique" ON "top_ups" USING btree ("payment_intent_id");--> statement-breakpoint
CREATE UNIQUE INDEX "top_ups_automatic_one_is_open" ON "top_ups" USING btree ("organization_id","currency") WHERE "top_ups"."is_automatic" and "top_ups"."status" = 'open';--> statement-breakpoint
CREATE INDEX "top_ups_by_organization" ON "top_ups" USING btree ("organization_id","id");--> statement-breakpoint
CREATE INDEX "top_ups_contested" ON "top_ups" USING btree ("account_id") WHERE "top_ups"."card_dispute" <> 'none' or "top_ups"."refunded_cents" > 0;--> statement-breakpoint
CREATE INDEX "top_ups_open" ON "top_ups" USING btree ("created_at") WHERE "top_ups"."status" = 'open';--> statement-breakpoint
CREATE INDEX "free_calls_of_a_month" ON "free_calls" USING btree ("account_id","agent_id","month");--> statement-breakpoint
CREATE INDEX "webhook_attempts_by_delivery" ON "webhook_attempts" USING btree ("delivery_id","id");--> statement-breakpoint
CREATE INDEX "webhook_deliveries_due" ON "webhook_deliveries" USING btree ("endpoint_id","next_attempt_at") WHERE "webhook_deliveries"."status" = 'pending';--> statement-breakpoint
CREATE INDEX "webhook_deliveries_by_endpoint" ON "webhook_deliveries" USING btree ("endpoint_id","id");--> statement-breakpoint
CREATE INDEX "webhook_deliveries_failed" ON "webhook_deliveries" USING btree ("endpoint_id","id") WHERE "webhook_deliveries"."status" = 'failed';--> statement-breakpoint
CREATE INDEX "webhook_endpoints_by_organization" ON "webhook_endpoints" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "journal_by_subject" ON "ledger_journal" USING btree ("subject") WHERE "ledger_journal"."subject" is not null;--> statement-breakpoint
ALTER TABLE "call_results" DROP COLUMN "receipt";--> statement-breakpoint
ALTER TABLE "ledger_accounts" ADD CONSTRAINT "accounts_kind_is_known" CHECK ("ledger_accounts"."kind" in ('balance', 'frozen', 'earnings', 'payable', 'disputed', 'fees', 'funding'));--> statement-breakpoint
ALTER TABLE "ledger_holds" ADD CONSTRAINT "holds_budget_meter_has_its_day" CHECK (("ledger_holds"."budget_meter_id" is null) = ("ledger_holds"."budget_metered_on" is null));--> statement-breakpoint
ALTER TABLE "ledger_journal" ADD CONSTRAINT "journal_kind_is_known" CHECK ("ledger_journal"."kind" in ('settle', 'refund', 'expire', 'grant', 'top_up', 'freeze', 'unfreeze', 'top_up_reversal', 'release', 'dispute', 'dispute_rejected', 'reversal', 'fee_reversal', 'payout', 'payout_returned'));