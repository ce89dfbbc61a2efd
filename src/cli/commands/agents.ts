import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Json } from '../../base/json.ts';
import type { AgentDetailAnswer, Client } from '../../client/client.ts';
import { ApiProblem } from '../../client/failures.ts';
import { addCommand, addNoun, collect, examples, wholeNumber } from '../command.ts';
import { connect } from '../connection.ts';
import { CommandFailure } from '../describe-failure.ts';
import { printable, printFacts, printJson, printLine, printTable, printWarning } from '../print.ts';
import type { Runtime } from '../runtime.ts';

const MOST = 10_000;

type JsonFlag = { json?: boolean };

/** `sentinel agents`. */
export function addAgents(program: Command, { environment }: Runtime): void {
  const agents = addNoun(program, 'agents', 'agents: what is for sale');

  addCommand(agents, 'publish <file>', 'publish a manifest as the newest version of its agent')
    .option('--org <org>', "the seller; needed with the operator's key")
    .addHelpText('after', examples('sentinel agents publish manifests/my_agent.json --org org_…'))
    .action(async (file: string, options: { org?: string } & JsonFlag) => {
      const manifest = await readManifest(file);
      const client = await connect(environment);
      const { agent_id, version, warnings } = await publish(client, manifest, options.org);
      if (options.json) return printJson({ agent_id, version, ...(warnings ? { warnings } : {}) });
      printLine(`${agent_id} ${version} is published.`);
      // Beside the answer and not in it, as scripts read that.
      for (const { path, message } of warnings ?? []) printWarning(`${path || '(root)'} ${message}`);
    });

  addCommand(agents, 'list', 'agents, for sale or not')
    .option('--org <org>', "only this organization's")
    .addHelpText('after', examples('sentinel agents list', 'sentinel agents list --org org_… --json'))
    .action(async (options: { org?: string } & JsonFlag) => {
      const client = await connect(environment);
      const items = await collect(
        (page) => client.agents.list({ ...page, organization_id: options.org }),
        MOST,
      );
      if (options.json) return printJson({ items });
      printTable(
        ['ID', 'VERSION', 'STATUS', 'TRUST', 'BADGE', 'CATEGORY', 'NAME'],
        items.map((each) => [
          each.agent_id,
          each.version,
          each.status,
          each.trust_score,
          each.badge,
          each.category,
          each.display_name,
        ]),
      );
    });

  addCommand(agents, 'show <agent>', 'one agent')
    .addHelpText('after', examples('sentinel agents show agt_pdf_summariser_v2'))
    .action(async (id: string, options: JsonFlag) => {
      const agent = await (await connect(environment)).agents.get(id, { min_trust_score: 0 });
      if (options.json) return printJson(agent);
      printFacts(factsOf(agent));
    });

  addCommand(agents, 'verify <agent>', 'attest a trust score; the agent is for sale from then on')
    .requiredOption('--score <score>', '0 to 100', wholeNumber(0, 100))
    .addHelpText('after', examples('sentinel agents verify agt_pdf_summariser_v2 --score 87'))
    .action(async (id: string, options: { score: number } & JsonFlag) => {
      const { agent_id, trust_score, badge } = await (
        await connect(environment)
      ).agents.verify(id, options.score);
      if (options.json) return printJson({ agent_id, trust_score, badge });
      printLine(`${agent_id} has trust ${trust_score}/100 and ${badge ? `the badge ${badge}` : 'no badge'}.`);
    });

  for (const [verb, description] of [
    ['suspend', 'take an agent off the market'],
    ['resume', 'end a suspension'],
  ] as const) {
    addCommand(agents, `${verb} <agent>`, description)
      .addHelpText('after', examples(`sentinel agents ${verb} agt_pdf_summariser_v2`))
      .action(async (id: string, options: JsonFlag) => {
        const { agent_id, status } = await (await connect(environment)).agents[verb](id);
        if (options.json) printJson({ agent_id, status });
        else printLine(`${agent_id} is ${status}.`);
      });
  }
}

async function readManifest(file: string): Promise<Json> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new CommandFailure(
      error.code === 'ENOENT' ? `There is no file ${file}.` : `${file} cannot be read (${error.code}).`,
    );
  });
  try {
    return JSON.parse(text) as Json;
  } catch (error) {
    throw new CommandFailure(`${file} is not valid JSON: ${(error as Error).message}`);
  }
}

/** The gateway checks the manifest; every fault it finds is one line, for editors and scripts. */
async function publish(client: Client, manifest: Json, organizationId: string | undefined) {
  try {
    return await client.agents.publish({ manifest, organization_id: organizationId });
  } catch (error) {
    if (!(error instanceof ApiProblem) || error.faults.length === 0) throw error;
    throw new CommandFailure(
      error.faults.map(({ path, message }) => printable(`${path || '(root)'}: ${message}`)).join('\n'),
    );
  }
}

function factsOf(agent: AgentDetailAnswer): [string, string | number | null][] {
  const { price, standing } = agent;
  const cost =
    price.model === 'per_call'
      ? `${price.credits_per_call} credits ($${price.usd}) a call`
      : `${price.credits_per_unit} credits per ${price.unit}, at most ${price.max} a call`;
  return [
    ['Agent', agent.agent_id],
    ['Name', agent.display_name],
    ['Version', agent.version],
    ['Seller', agent.seller],
    ['Status', standing?.status ?? 'verified'],
    ['Trust', agent.trust_score],
    ['Badge', agent.badge],
    ['Category', agent.category],
    ['Price', cost],
    ['Timeout', `${agent.timeout_ms / 1_000} s`],
    ['Description', agent.description],
  ];
}
