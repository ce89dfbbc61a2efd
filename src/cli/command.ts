import { InvalidArgumentError, type Command } from 'commander';
import type { Page } from '../client/client.ts';

/** A noun: a command that only groups others, and shows them when it is called alone. */
export function addNoun(parent: Command, name: string, description: string): Command {
  return parent.command(name).description(description).helpCommand(false);
}

/** One command; all of them can print JSON, and none ignores what it does not know. */
export function addCommand(parent: Command, form: string, description: string): Command {
  return parent
    .command(form)
    .description(description)
    .option('--json', 'print JSON, for scripts')
    .allowExcessArguments(false)
    .allowUnknownOption(false);
}

/** The examples at the end of a command's help. */
export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}\n`;
}

/** For an option that is a whole number. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  };
}

const PAGE = 100;

/** Items of every page, at most `most` of them. */
export async function collect<Item>(
  load: (page: { limit: number; cursor: string | undefined }) => Promise<Page<Item>>,
  most: number,
): Promise<Item[]> {
  const items: Item[] = [];
  let cursor: string | undefined;
  while (items.length < most) {
    const page = await load({ limit: Math.min(PAGE, most - items.length), cursor });
    items.push(...page.items);
    if (page.next_cursor === null) break;
    cursor = page.next_cursor;
  }
  return items;
}
