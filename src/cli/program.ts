import { Command, CommanderError } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import { addAgents } from './commands/agents.ts';
import { addCalls } from './commands/calls.ts';
import { addCredits } from './commands/credits.ts';
import { addDoctor } from './commands/doctor.ts';
import { addKeys } from './commands/keys.ts';
import { addMigrate } from './commands/migrate.ts';
import { addOrganizations } from './commands/orgs.ts';
import { addReceipts } from './commands/receipts.ts';
import { addServe } from './commands/serve.ts';
import { addStatus } from './commands/status.ts';
import { describeFailure } from './describe-failure.ts';
import type { Runtime } from './runtime.ts';

const USAGE_ERROR = 2;

const EXAMPLES = `
Examples:
  $ sentinel serve --demo                                  a gateway with agents to try
  $ sentinel orgs create "My company"
  $ sentinel keys create --org org_… --cap-day 100
  $ sentinel agents publish manifest.json --org org_…
  $ sentinel doctor                                        what is wrong, and what to do

Commands speak to the gateway that runs with the same data directory (SENTINEL_DATA, or ./.sentinel),
or to the one that SENTINEL_URL and SENTINEL_API_KEY name.
`;

/** Runs one command line and answers its exit code. A failure is one sentence on standard error. */
export async function main(args: readonly string[], runtime: Runtime): Promise<number> {
  // `sentinel … | head` closes our output early; that is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  try {
    await createProgram(runtime).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE_ERROR;
    process.stderr.write(`${describeFailure(error)}\n`);
    return 1;
  }
}

function createProgram(runtime: Runtime): Command {
  const program = new Command('sentinel')
    .description('The gateway between AI hosts and paid agents.')
    .version(manifest.version, '-v, --version')
    .helpCommand(false)
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    .configureOutput({
      // Commander puts its suggestion on a line of its own.
      outputError: (text, write) =>
        write(
          `${text
            .trim()
            .replace(/^error: /, '')
            .replaceAll('\n', ' ')}\n`,
        ),
    });
  addServe(program, runtime);
  addMigrate(program, runtime);
  addDoctor(program, runtime);
  addStatus(program, runtime);
  addAgents(program, runtime);
  addKeys(program, runtime);
  addCredits(program, runtime);
  addOrganizations(program, runtime);
  addCalls(program, runtime);
  addReceipts(program, runtime);
  return program;
}
