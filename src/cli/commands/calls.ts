import type { Command } from 'commander';
import { addCommand, addNoun, collect, examples, wholeNumber } from '../command.ts';
import { connect } from '../connection.ts';
import { printFacts, printJson, printTable } from '../print.ts';
import type { Runtime } from '../runtime.ts';

const USUALLY_SHOWN = 20;

type ListOptions = { agent?: string; outcome?: string; limit: number; json?: boolean };

/** `sentinel calls`. */
export function addCalls(program: Command, { environment }: Runtime): void {
  const calls = addNoun(program, 'calls', 'paid calls: what was asked, and what it cost');

  addCommand(calls, 'list', 'calls, newest first')
    .option('--agent <agent>', 'only of this agent')
    .option('--outcome <outcome>', 'only settled, refunded, refused or replayed ones')
    .option('--limit <count>', 'how many', wholeNumber(1, 10_000), USUALLY_SHOWN)
    .addHelpText(
      'after',
      examples('sentinel calls list', 'sentinel calls list --outcome refunded --limit 100'),
    )
    .action(async (options: ListOptions) => {
      const client = await connect(environment);
      const items = await collect(
        (page) => client.calls.list({ ...page, agent_id: options.agent, outcome: options.outcome }),
        options.limit,
      );
      if (options.json) return printJson({ items });
      printTable(
        ['ID', 'ENDED', 'AGENT', 'OUTCOME', 'CODE', 'CHARGED', 'MS'],
        items.map((each) => [
          each.call_id,
          each.ended_at,
          each.agent_id,
          each.outcome,
          each.code,
          each.charged,
          each.latency_ms,
        ]),
      );
    });

  addCommand(calls, 'show <call>', 'one call, and its answer if it is kept')
    .addHelpText('after', examples('sentinel calls show call_…', 'sentinel calls show call_… --json'))
    .action(async (id: string, options: { json?: boolean }) => {
      const call = await (await connect(environment)).calls.get(id);
      if (options.json) return printJson(call);
      const { result, dispute, ...facts } = call;
      printFacts([
        ...Object.entries(facts),
        ['dispute', dispute === null ? null : `${dispute.dispute_id}, ${dispute.status}`],
        ['result', result === null ? 'not kept' : JSON.stringify(result.output)],
      ]);
    });
}
