CREATE TABLE "linked_resources" (
	"key_id" text NOT NULL,
	"uri_hash" text NOT NULL,
	"call_id" uuid NOT NULL,
	"agent_id" text NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	CONSTRAINT "linked_resources_are_one_per_key_and_uri" PRIMARY KEY("key_id","uri_hash")
);
--> statement-breakpoint
CREATE INDEX "linked_resources_by_expiry" ON "linked_resources" USING btree ("expires_at");