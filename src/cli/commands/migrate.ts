import type { Command } from 'commander';
import { addCommand, examples } from '../command.ts';
import { printJson, printLine } from '../print.ts';
import type { Runtime } from '../runtime.ts';

/** `sentinel migrate`: `serve` does it too; this is for those who want it as a step of its own. */
export function addMigrate(program: Command, runtime: Runtime): void {
  addCommand(program, 'migrate', 'bring the database schema up to date')
    .addHelpText('after', examples('DATABASE_URL=postgres://… sentinel migrate'))
    .action(async (options: { json?: boolean }) => {
      const { applied } = await runtime.migrate();
      if (options.json) printJson({ applied });
      else printLine(applied === 0 ? 'The schema is up to date.' : `${applied} migrations were applied.`);
    });
}
