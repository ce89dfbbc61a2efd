import type { Command } from 'commander';
import { examples } from '../command.ts';
import type { Runtime } from '../runtime.ts';

/** `sentinel serve`: runs until it is told to stop. */
export function addServe(program: Command, runtime: Runtime): void {
  program
    .command('serve')
    .description('run the gateway')
    .option('--demo', 'with agents that do real work, and a key with test credits')
    .option('--port <port>', 'instead of PORT, or 8787')
    .option('--host <host>', 'instead of HOST, or 127.0.0.1')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      examples(
        'sentinel serve --demo',
        'DATABASE_URL=postgres://… REDIS_URL=redis://… sentinel serve --host 0.0.0.0',
      ),
    )
    .action((options: { demo?: boolean; port?: string; host?: string }) =>
      runtime.serve({ ...options, demo: options.demo === true }),
    );
}
