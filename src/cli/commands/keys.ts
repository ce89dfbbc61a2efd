import type { Command } from 'commander';
import { addCommand, addNoun, collect, examples, wholeNumber } from '../command.ts';
import { connect } from '../connection.ts';
import { printJson, printLine, printTable } from '../print.ts';
import type { Runtime } from '../runtime.ts';

const MOST = 10_000;

type Wish = {
  org: string;
  name?: string;
  test?: boolean;
  scopes?: string[];
  maxPerCall?: string;
  capDay?: string;
  capMonth?: string;
  capTotal?: string;
  ratePerMinute?: number;
  json?: boolean;
};

/** `sentinel keys`. */
export function addKeys(program: Command, { environment }: Runtime): void {
  const keys = addNoun(program, 'keys', 'API keys: what an organization calls with');

  addCommand(keys, 'create', 'make a key; it is shown once')
    .requiredOption('--org <org>', 'the organization it is for')
    .option('--name <name>', 'to tell it from others')
    .option('--test', 'a key that spends test credits only')
    .option(
      '--scopes <scopes>',
      'what it may do, separated by commas: agents:read agents:invoke agents:publish calls:read billing:read billing:write (unless said: agents:read,agents:invoke,calls:read,billing:read)',
      (text) => text.split(','),
    )
    .option('--max-per-call <credits>', 'the most one call may cost')
    .option('--cap-day <credits>', 'the most it may spend in a day (UTC)')
    .option('--cap-month <credits>', 'the most it may spend in a month (UTC)')
    .option('--cap-total <credits>', 'the most it may ever spend')
    .option('--rate-per-minute <calls>', 'calls a minute', wholeNumber(1, 1_000_000))
    .addHelpText(
      'after',
      examples(
        'sentinel keys create --org org_… --name laptop --test',
        'sentinel keys create --org org_… --scopes agents:read,agents:invoke --cap-day 500 --max-per-call 25',
        'sentinel keys create --org org_… --scopes agents:read,agents:publish',
        'sentinel keys create --org org_… --scopes billing:read,billing:write',
      ),
    )
    .action(async (wish: Wish) => {
      const client = await connect(environment);
      const { id, key } = await client.keys.create({
        organization_id: wish.org,
        ...(wish.name === undefined ? {} : { name: wish.name }),
        ...(wish.test ? { test: true } : {}),
        // The gateway knows which scopes there are, and says so.
        ...(wish.scopes === undefined ? {} : { scopes: wish.scopes as never }),
        ...(wish.maxPerCall === undefined ? {} : { max_per_call: wish.maxPerCall }),
        ...(wish.capDay === undefined ? {} : { cap_day: wish.capDay }),
        ...(wish.capMonth === undefined ? {} : { cap_month: wish.capMonth }),
        ...(wish.capTotal === undefined ? {} : { cap_total: wish.capTotal }),
        ...(wish.ratePerMinute === undefined ? {} : { rate_per_minute: wish.ratePerMinute }),
      });
      if (wish.json) return printJson({ id, key });
      printLine(key);
      printLine(`This is ${id}. Keep the key now: it is not stored and cannot be shown again.`);
    });

  addCommand(keys, 'list', 'keys, newest first')
    .option('--org <org>', "only this organization's")
    .addHelpText('after', examples('sentinel keys list --org org_…'))
    .action(async (options: { org?: string; json?: boolean }) => {
      const client = await connect(environment);
      const items = await collect(
        (page) => client.keys.list({ ...page, organization_id: options.org }),
        MOST,
      );
      if (options.json) return printJson({ items });
      printTable(
        ['ID', 'ORGANIZATION', 'NAME', 'KEY', 'SCOPES', 'REVOKED'],
        items.map((each) => [
          each.id,
          each.organization_id,
          each.name,
          `sk_${each.currency}_…${each.last_four}`,
          each.scopes.join(','),
          each.revoked_at,
        ]),
      );
    });

  addCommand(keys, 'revoke <key>', 'end a key, at once and everywhere')
    .addHelpText('after', examples('sentinel keys revoke key_…'))
    .action(async (id: string, options: { json?: boolean }) => {
      const revoked = await (await connect(environment)).keys.revoke(id);
      if (options.json) printJson({ id: revoked.id, revoked_at: revoked.revoked_at });
      else printLine(`${revoked.id} is revoked.`);
    });
}
