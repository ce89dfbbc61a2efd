import type { Command } from 'commander';
import { addCommand, addNoun, examples, wholeNumber } from '../command.ts';
import { connect } from '../connection.ts';
import { printFacts, printJson } from '../print.ts';
import type { Runtime } from '../runtime.ts';
import { addVerify } from './verify-receipts.ts';

const PAGE = 500;

const NO_RECEIPTS =
  "This key's organization has no receipts in its currency. To export another's, set SENTINEL_API_KEY to a key of it.\n";

/** `sentinel receipts`. */
export function addReceipts(program: Command, { environment }: Runtime): void {
  const receipts = addNoun(program, 'receipts', 'signed receipts: what each call cost, and the proof of it');

  addCommand(receipts, 'get <call>', 'the receipt of one call')
    .addHelpText('after', examples('sentinel receipts get call_…', 'sentinel receipts get call_… --json'))
    .action(async (callId: string, options: { json?: boolean }) => {
      const receipt = await (await connect(environment)).billing.receipt(callId);
      if (options.json) return printJson(receipt);
      printFacts(Object.entries(receipt));
    });

  addCommand(receipts, 'export', 'the whole chain, one receipt a line')
    .option('--from-seq <number>', 'begin here', wholeNumber(1, 999_999_999), 1)
    .addHelpText('after', examples('sentinel receipts export > receipts.jsonl'))
    .action(async (options: { fromSeq: number }) => {
      const { billing } = await connect(environment);
      let count = 0;
      for (let cursor: string | null = String(options.fromSeq); cursor !== null;) {
        const page = await billing.receipts({ limit: PAGE, cursor });
        page.items.forEach(printJson);
        count += page.items.length;
        cursor = page.next_cursor;
      }
      // Not among the receipts, which may be on their way into a file.
      if (count === 0) process.stderr.write(NO_RECEIPTS);
    });

  addCommand(receipts, 'proof', 'the signed proof of one day, and where your chain ended in it')
    .option('--day <day>', 'such as 2026-01-31; the newest there is')
    .addHelpText('after', examples('sentinel receipts proof --json > proof.json'))
    .action(async (options: { day?: string; json?: boolean }) => {
      const answer = await (await connect(environment)).billing.proof(options.day);
      if (options.json) return printJson(answer);
      const { proof, chain } = answer;
      printFacts([
        ['Day', proof.day],
        ['Taken at', proof.taken_at],
        ['Live credits sum to', proof.sums.live],
        ['Test credits sum to', proof.sums.test],
        ['Journal rows', proof.journal_rows],
        ['Chains', proof.chains.count],
        ['Your receipts then', chain?.seq ?? 0],
        ['The last of them', chain?.head],
      ]);
    });

  addVerify(receipts, environment);
}
