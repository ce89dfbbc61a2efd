CREATE TABLE "card_refunds" (
	"refund_id" text PRIMARY KEY NOT NULL,
	"top_up_id" uuid NOT NULL,
	"state" text NOT NULL,
	"cents" bigint NOT NULL,
	CONSTRAINT "card_refunds_state_is_known" CHECK ("card_refunds"."state" in ('pending', 'succeeded', 'canceled', 'failed')),
	CONSTRAINT "card_refunds_cents_are_positive" CHECK ("card_refunds"."cents" > 0)
);
--> statement-breakpoint
ALTER TABLE "top_ups" DROP CONSTRAINT "top_ups_refund_at_most_the_amount";--> statement-breakpoint
ALTER TABLE "ledger_journal" DROP CONSTRAINT "journal_kind_is_known";--> statement-breakpoint
-- Of earlier refunds only their total is known. It stays in refunded_cents and goes on counting until each is
-- known by id, so what is due of a top-up is the same before and after.
ALTER TABLE "top_ups" ADD COLUMN "failed_refund_cents" bigint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "card_refunds" ADD CONSTRAINT "card_refunds_top_up_id_top_ups_id_fk" FOREIGN KEY ("top_up_id") REFERENCES "public"."top_ups"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "card_refunds_by_top_up" ON "card_refunds" USING btree ("top_up_id");--> statement-breakpoint
ALTER TABLE "ledger_journal" DROP COLUMN "xid";--> statement-breakpoint
ALTER TABLE "top_ups" ADD CONSTRAINT "top_ups_refunds_fail_at_most_in_full" CHECK ("top_ups"."failed_refund_cents" between 0 and "top_ups"."refunded_cents");--> statement-breakpoint
ALTER TABLE "ledger_journal" ADD CONSTRAINT "journal_kind_is_known" CHECK ("ledger_journal"."kind" in ('settle', 'refund', 'expire', 'grant', 'top_up', 'freeze', 'unfreeze', 'top_up_reversal', 'top_up_restored', 'release', 'dispute', 'dispute_rejected', 'reversal', 'fee_reversal', 'payout', 'payout_returned'));