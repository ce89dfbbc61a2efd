CREATE TABLE "early_fraud_warnings" (
	"warning_id" text PRIMARY KEY NOT NULL,
	"top_up_id" uuid NOT NULL,
	"fraud_type" text NOT NULL,
	"is_actionable" boolean NOT NULL,
	"warned_at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
ALTER TABLE "card_disputes" DROP CONSTRAINT "card_disputes_state_is_known";--> statement-breakpoint
ALTER TABLE "card_disputes" ADD COLUMN "stripe_status" text;--> statement-breakpoint
ALTER TABLE "card_refunds" ADD COLUMN "stripe_status" text;--> statement-breakpoint
ALTER TABLE "payout_accounts" ADD COLUMN "disabled_reason" text;--> statement-breakpoint
ALTER TABLE "payout_accounts" ADD COLUMN "gone_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "payout_accounts" ADD COLUMN "checked_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "top_ups" ADD COLUMN "payment_state" text;--> statement-breakpoint
ALTER TABLE "early_fraud_warnings" ADD CONSTRAINT "early_fraud_warnings_top_up_id_top_ups_id_fk" FOREIGN KEY ("top_up_id") REFERENCES "public"."top_ups"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "early_fraud_warnings_by_top_up" ON "early_fraud_warnings" USING btree ("top_up_id");--> statement-breakpoint
-- A call that was the reason of several refunds stays that of the first; what was explained to both sides names it for all.
UPDATE "disputes" d SET "duplicate_of" = NULL
WHERE EXISTS (SELECT 1 FROM "disputes" f WHERE f."duplicate_of" = d."duplicate_of" AND f."id" < d."id");--> statement-breakpoint
CREATE UNIQUE INDEX "disputes_call_is_reason_of_one_refund" ON "disputes" USING btree ("duplicate_of");--> statement-breakpoint
ALTER TABLE "card_disputes" ADD CONSTRAINT "card_disputes_state_is_known" CHECK ("card_disputes"."state" in ('inquiry', 'open', 'won', 'lost'));