import type { Command } from 'commander';
import { addCommand, examples } from '../command.ts';
import { connect } from '../connection.ts';
import { printFacts, printJson } from '../print.ts';
import type { Runtime } from '../runtime.ts';

/** `sentinel status`. */
export function addStatus(program: Command, { environment }: Runtime): void {
  addCommand(program, 'status', 'how the running gateway is doing')
    .addHelpText('after', examples('sentinel status', 'sentinel status --json'))
    .action(async (options: { json?: boolean }) => {
      const status = await (await connect(environment)).status();
      if (options.json) return printJson(status);
      printFacts([
        ['Version', status.version],
        ['Up', `${status.uptime_s} s`],
        ['Agents for sale', status.agents],
        ['Calls running', status.open_calls],
        ['Holds open', `${status.open_holds} (${status.held} credits)`],
        ['Ledger queue', status.queue_depth],
        ['Limits', status.limits],
        ['Database', `${status.database_ms} ms`],
      ]);
    });
}
