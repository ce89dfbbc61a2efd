import type { Command } from 'commander';
import { newId } from '../../base/ids.ts';
import { addCommand, addNoun, examples } from '../command.ts';
import { connect } from '../connection.ts';
import { printJson, printLine } from '../print.ts';
import type { Runtime } from '../runtime.ts';

/** `sentinel credits`. */
export function addCredits(program: Command, { environment }: Runtime): void {
  const credits = addNoun(program, 'credits', 'credits: 1 is US$0.01');

  addCommand(credits, 'grant <org> <amount>', 'give credits to an organization')
    .option('--test', 'test credits, which only test keys spend')
    .addHelpText(
      'after',
      examples('sentinel credits grant org_… 500', 'sentinel credits grant org_… 12.5 --test'),
    )
    .action(async (org: string, amount: string, options: { test?: boolean; json?: boolean }) => {
      const client = await connect(environment);
      const { balance } = await client.credits.grant({
        organization_id: org,
        amount,
        test: options.test === true,
        grant_id: newId('txn'),
      });
      if (options.json) printJson({ balance });
      else printLine(`The balance is ${balance} ${options.test ? 'test ' : ''}credits.`);
    });
}
