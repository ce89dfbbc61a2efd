import type { Command } from 'commander';
import { addCommand, addNoun, collect, examples } from '../command.ts';
import { connect } from '../connection.ts';
import { printJson, printLine, printTable } from '../print.ts';
import type { Runtime } from '../runtime.ts';

const MOST = 10_000;

/** `sentinel orgs`. */
export function addOrganizations(program: Command, { environment }: Runtime): void {
  const orgs = addNoun(program, 'orgs', 'organizations: who buys and who sells');

  addCommand(orgs, 'create <name>', 'make an organization')
    .addHelpText('after', examples('sentinel orgs create "My company"'))
    .action(async (name: string, options: { json?: boolean }) => {
      const { id } = await (await connect(environment)).organizations.create(name);
      if (options.json) return printJson({ id });
      printLine(id);
      printLine(`Give it a key:  sentinel keys create --org ${id}`);
    });

  addCommand(orgs, 'list', 'every organization, oldest first')
    .addHelpText('after', examples('sentinel orgs list'))
    .action(async (options: { json?: boolean }) => {
      const client = await connect(environment);
      const items = await collect((page) => client.organizations.list(page), MOST);
      if (options.json) return printJson({ items });
      printTable(
        ['ID', 'NAME', 'MADE'],
        items.map((each) => [each.id, each.name, each.created_at]),
      );
    });
}
