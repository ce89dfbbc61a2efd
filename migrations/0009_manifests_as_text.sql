-- `jsonb` sorts the members of an object; people and models read properties in the order their seller wrote them.
ALTER TABLE "agent_versions" DROP CONSTRAINT "agent_versions_manifest_is_an_object";--> statement-breakpoint
ALTER TABLE "agent_versions" ALTER COLUMN "manifest" SET DATA TYPE json;--> statement-breakpoint
ALTER TABLE "agent_versions" ADD CONSTRAINT "agent_versions_manifest_is_an_object" CHECK (json_typeof("agent_versions"."manifest") = 'object');