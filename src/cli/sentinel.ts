#!/usr/bin/env node
import { main } from './program.ts';

// Loaded only by the command that needs it: the gateway is large, and most commands only speak to one.
process.exitCode = await main(process.argv.slice(2), {
  environment: process.env,
  serve: async (flags) => (await import('../runtime/main.ts')).runServe(flags),
  migrate: async () => (await import('../runtime/main.ts')).runMigrate(),
});
