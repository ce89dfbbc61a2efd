CREATE TABLE "call_results" (
	"call_id" uuid PRIMARY KEY NOT NULL,
	"key_id" text NOT NULL,
	"request_hash" text NOT NULL,
	"answer" json,
	"receipt" json,
	"handover_until" timestamp with time zone,
	"expires_at" timestamp with time zone NOT NULL,
	CONSTRAINT "call_results_answer_has_a_receipt" CHECK (("call_results"."answer" is null) = ("call_results"."receipt" is null))
);
--> statement-breakpoint
CREATE TABLE "calls" (
	"id" uuid PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"key_id" text NOT NULL,
	"agent_id" text NOT NULL,
	"agent_version" text,
	"currency" text NOT NULL,
	"wire" text NOT NULL,
	"outcome" text NOT NULL,
	"replay_of" uuid,
	"code" text,
	"held_micros" bigint NOT NULL,
	"charged_micros" bigint NOT NULL,
	"fee_micros" bigint NOT NULL,
	"request_id" text NOT NULL,
	"is_delivered" boolean NOT NULL,
	"upstream_ms" integer,
	"started_at" timestamp with time zone NOT NULL,
	"ended_at" timestamp with time zone NOT NULL,
	CONSTRAINT "calls_outcome_is_known" CHECK ("calls"."outcome" in ('settled', 'refunded', 'refused', 'replayed')),
	CONSTRAINT "calls_charge_at_most_the_hold" CHECK ("calls"."charged_micros" between 0 and "calls"."held_micros"),
	CONSTRAINT "calls_fee_is_part_of_charge" CHECK ("calls"."fee_micros" between 0 and "calls"."charged_micros"),
	CONSTRAINT "calls_charge_only_when_settled" CHECK ("calls"."outcome" = 'settled' or "calls"."charged_micros" = 0),
	CONSTRAINT "calls_hold_only_when_settled_or_refunded" CHECK ("calls"."outcome" in ('settled', 'refunded') or "calls"."held_micros" = 0),
	CONSTRAINT "calls_replay_names_the_call" CHECK (("calls"."outcome" = 'replayed') = ("calls"."replay_of" is not null)),
	CONSTRAINT "calls_code_says_why_there_is_no_answer" CHECK (("calls"."outcome" in ('settled', 'replayed')) = ("calls"."code" is null))
);
--> statement-breakpoint
CREATE TABLE "agent_versions" (
	"agent_id" text NOT NULL,
	"version" text NOT NULL,
	"manifest" jsonb NOT NULL,
	"manifest_hash" text NOT NULL,
	"published_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "agent_versions_are_published_once" PRIMARY KEY("agent_id","version"),
	CONSTRAINT "agent_versions_hash_is_sha256" CHECK ("agent_versions"."manifest_hash" ~ '^[0-9a-f]{64}$'),
	CONSTRAINT "agent_versions_manifest_is_an_object" CHECK (jsonb_typeof("agent_versions"."manifest") = 'object')
);
--> statement-breakpoint
CREATE TABLE "agents" (
	"id" text PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"category" text NOT NULL,
	"display_name" text NOT NULL,
	"trust_score" integer,
	"status" text NOT NULL,
	"current_version" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "agents_id_is_well_formed" CHECK ("agents"."id" ~ '^agt_[a-z0-9]+(_[a-z0-9]+)*_v[1-9][0-9]*$'),
	CONSTRAINT "agents_trust_score_is_a_percentage" CHECK ("agents"."trust_score" between 0 and 100),
	CONSTRAINT "agents_status_is_known" CHECK ("agents"."status" in ('published', 'verified', 'suspended')),
	CONSTRAINT "agents_are_verified_with_a_score" CHECK ("agents"."status" <> 'verified' or "agents"."trust_score" is not null)
);
--> statement-breakpoint
CREATE TABLE "api_keys" (
	"id" text PRIMARY KEY NOT NULL,
	"organization_id" text NOT NULL,
	"name" text NOT NULL,
	"secret_hash" text NOT NULL,
	"last_four" text NOT NULL,
	"currency" text NOT NULL,
	"scopes" text[] NOT NULL,
	"max_per_call_micros" bigint,
	"rate_per_minute" integer NOT NULL,
	"max_concurrent" integer NOT NULL,
	"account_id" bigint NOT NULL,
	"meter_id" bigint,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"revoked_at" timestamp with time zone,
	CONSTRAINT "api_keys_currency_is_known" CHECK ("api_keys"."currency" in ('live', 'test')),
	CONSTRAINT "api_keys_max_per_call_is_not_negative" CHECK ("api_keys"."max_per_call_micros" >= 0),
	CONSTRAINT "api_keys_rate_is_positive" CHECK ("api_keys"."rate_per_minute" > 0 and "api_keys"."max_concurrent" > 0)
);
--> statement-breakpoint
CREATE TABLE "organizations" (
	"id" text PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "organizations_name_is_not_blank" CHECK (length(btrim("organizations"."name")) > 0)
);
--> statement-breakpoint
CREATE TABLE "idempotency_keys" (
	"key_id" text NOT NULL,
	"idempotency_key" text NOT NULL,
	"call_id" uuid NOT NULL,
	"request_hash" text NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	CONSTRAINT "idempotency_keys_are_per_api_key" PRIMARY KEY("key_id","idempotency_key")
);
--> statement-breakpoint
CREATE TABLE "ledger_accounts" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "ledger_accounts_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"organization_id" text,
	"currency" text NOT NULL,
	"kind" text NOT NULL,
	"posted" bigint DEFAULT 0 NOT NULL,
	"held" bigint DEFAULT 0 NOT NULL,
	CONSTRAINT "accounts_are_one_per_owner_currency_and_kind" UNIQUE NULLS NOT DISTINCT("organization_id","currency","kind"),
	CONSTRAINT "accounts_currency_is_known" CHECK ("ledger_accounts"."currency" in ('live', 'test')),
	CONSTRAINT "accounts_kind_is_known" CHECK ("ledger_accounts"."kind" in ('balance', 'earnings', 'fees', 'funding')),
	CONSTRAINT "accounts_held_is_not_negative" CHECK ("ledger_accounts"."held" >= 0),
	CONSTRAINT "accounts_cannot_be_overdrawn" CHECK ("ledger_accounts"."kind" = 'funding' or "ledger_accounts"."posted" >= "ledger_accounts"."held")
);
--> statement-breakpoint
CREATE TABLE "ledger_holds" (
	"id" uuid PRIMARY KEY NOT NULL,
	"buyer" bigint NOT NULL,
	"seller" bigint NOT NULL,
	"fees" bigint NOT NULL,
	"amount" bigint NOT NULL,
	"key_id" text NOT NULL,
	"agent_id" text NOT NULL,
	"meter_id" bigint,
	"metered_on" date,
	"keyed" boolean NOT NULL,
	"created_at" timestamp with time zone NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	CONSTRAINT "holds_amount_is_not_negative" CHECK ("ledger_holds"."amount" >= 0),
	CONSTRAINT "holds_expire_after_they_open" CHECK ("ledger_holds"."expires_at" > "ledger_holds"."created_at"),
	CONSTRAINT "holds_meter_has_its_day" CHECK (("ledger_holds"."meter_id" is null) = ("ledger_holds"."metered_on" is null))
);
--> statement-breakpoint
CREATE TABLE "ledger_journal" (
	"id" uuid PRIMARY KEY NOT NULL,
	"seq" bigserial NOT NULL,
	"xid" "xid8" DEFAULT pg_current_xact_id() NOT NULL,
	"kind" text NOT NULL,
	"debit" bigint NOT NULL,
	"credit" bigint NOT NULL,
	"fee_account" bigint,
	"amount" bigint NOT NULL,
	"fee" bigint DEFAULT 0 NOT NULL,
	"held" bigint DEFAULT 0 NOT NULL,
	"key_id" text,
	"agent_id" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "journal_kind_is_known" CHECK ("ledger_journal"."kind" in ('settle', 'refund', 'expire', 'grant')),
	CONSTRAINT "journal_amount_is_not_negative" CHECK ("ledger_journal"."amount" >= 0),
	CONSTRAINT "journal_fee_is_part_of_amount" CHECK ("ledger_journal"."fee" between 0 and "ledger_journal"."amount"),
	CONSTRAINT "journal_fee_has_an_account" CHECK ("ledger_journal"."fee" = 0 or "ledger_journal"."fee_account" is not null),
	CONSTRAINT "journal_settles_at_most_the_hold" CHECK ("ledger_journal"."kind" not in ('settle', 'refund', 'expire') or "ledger_journal"."amount" <= "ledger_journal"."held"),
	CONSTRAINT "journal_refunds_charge_nothing" CHECK ("ledger_journal"."kind" not in ('refund', 'expire') or "ledger_journal"."amount" = 0),
	CONSTRAINT "journal_moves_between_two_accounts" CHECK ("ledger_journal"."debit" <> "ledger_journal"."credit")
);
--> statement-breakpoint
CREATE TABLE "spend_meters" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "spend_meters_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"cap_day" bigint,
	"cap_month" bigint,
	"cap_total" bigint,
	"day" date DEFAULT (now() at time zone 'utc')::date NOT NULL,
	"used_day" bigint DEFAULT 0 NOT NULL,
	"used_month" bigint DEFAULT 0 NOT NULL,
	"used_total" bigint DEFAULT 0 NOT NULL,
	CONSTRAINT "meters_used_is_not_negative" CHECK ("spend_meters"."used_day" >= 0 and "spend_meters"."used_month" >= 0 and "spend_meters"."used_total" >= 0),
	CONSTRAINT "meters_day_is_part_of_month" CHECK ("spend_meters"."used_day" <= "spend_meters"."used_month"),
	CONSTRAINT "meters_month_is_part_of_total" CHECK ("spend_meters"."used_month" <= "spend_meters"."used_total")
);
--> statement-breakpoint
ALTER TABLE "agent_versions" ADD CONSTRAINT "agent_versions_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "agents" ADD CONSTRAINT "agents_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "ledger_accounts" ADD CONSTRAINT "ledger_accounts_organization_id_organizations_id_fk" FOREIGN KEY ("organization_id") REFERENCES "public"."organizations"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "call_results_to_hand_over" ON "call_results" USING btree ("key_id","request_hash") WHERE "call_results"."handover_until" is not null;--> statement-breakpoint
CREATE INDEX "call_results_by_expiry" ON "call_results" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "calls_by_organization" ON "calls" USING btree ("organization_id","id");--> statement-breakpoint
CREATE INDEX "agents_by_organization" ON "agents" USING btree ("organization_id");--> statement-breakpoint
CREATE UNIQUE INDEX "api_keys_secret_is_unique" ON "api_keys" USING btree ("secret_hash");--> statement-breakpoint
CREATE INDEX "api_keys_by_organization" ON "api_keys" USING btree ("organization_id");--> statement-breakpoint
CREATE INDEX "idempotency_keys_by_call" ON "idempotency_keys" USING btree ("call_id");--> statement-breakpoint
CREATE INDEX "idempotency_keys_by_expiry" ON "idempotency_keys" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "journal_by_debit" ON "ledger_journal" USING btree ("debit","seq");--> statement-breakpoint
CREATE INDEX "journal_by_credit" ON "ledger_journal" USING btree ("credit","seq");--> statement-breakpoint
CREATE INDEX "journal_by_time" ON "ledger_journal" USING brin ("created_at");