import { join } from 'node:path';
import semver from 'semver';
import { newId } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import { invariant } from '../base/invariant.ts';
import type { JsonObject } from '../base/json.ts';
import { MICROS_PER_CREDIT } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { issueKey } from '../governance/issue-key.ts';
import { publishAgent } from '../catalog/publish.ts';
import { getAgentRecord, verifyAgent } from '../catalog/standing.ts';
import { startDemoAgents, type DemoAgents } from '../demo/demo-agents.ts';
import { findOrganizationByName, insertOrganization } from '../identity/organizations.ts';
import { findAccount, getBalance, grantCredits } from '../ledger/accounts.ts';
import type { Gateway } from './gateway.ts';
import { keepKey } from './kept-secrets.ts';

export type Demo = {
  /** A test key with credits to spend. */
  key: string;
  /** Where a sample document for the curl line is. */
  sampleUrl: string;
  balanceMicros: bigint;
  /** Exactly the demo's own endpoints: nothing else on this machine becomes reachable. */
  allows(url: URL): boolean;
  close(): Promise<void>;
};

const USUAL_PORT = 8791;
const USUAL_MCP_PORT = 8792;
const BUYER = 'Demo buyer';
const SELLER = 'Demo seller';
const FIRST_GRANT_MICROS = 10_000n * MICROS_PER_CREDIT;

// What the demo's agents are worth trusting is settled by whoever wrote them: us.
const SCORES: Record<string, number> = {
  agt_pdf_summariser_v2: 92,
  agt_html_to_markdown_v1: 88,
  agt_csv_profiler_v1: 81,
};
const OTHER_SCORE = 62;

/** Starts the demo's sellers, lists what they sell, and gives a buyer test credits. The same data every time. */
export async function startDemo(gateway: Gateway, directory: string, log: Log): Promise<Demo> {
  const { db } = gateway.database;
  const agents = await startOnUsualPorts(log);
  const allowed = new Set(Object.values(agents.origins));
  try {
    const sellerId = await organizationNamed(gateway, SELLER);
    for (const { manifest } of agents.manifests) {
      const listed = await relist(gateway, sellerId, manifest);
      await db.transaction((tx) =>
        verifyAgent(tx, { agentId: listed, score: SCORES[listed] ?? OTHER_SCORE }),
      );
    }
    await gateway.catalog.refresh();

    const buyerId = await organizationNamed(gateway, BUYER);
    const key = await keepKey(db, join(directory, 'demo-key'), () =>
      issueKey(db, { organizationId: buyerId, name: 'demo', currency: 'test' }),
    );
    const account = await findAccount(db, buyerId, 'test', 'balance');
    let balance = account === undefined ? undefined : await getBalance(db, account);
    if (!balance || balance.availableMicros + balance.heldMicros === 0n) {
      const grant = {
        id: newId('txn'),
        organizationId: buyerId,
        currency: 'test' as const,
        amountMicros: FIRST_GRANT_MICROS,
      };
      await db.transaction((tx) => grantCredits(tx, grant));
      balance = { availableMicros: FIRST_GRANT_MICROS, heldMicros: 0n };
    }
    return {
      key,
      sampleUrl: `${agents.origins.agents}/samples/escrow.pdf`,
      balanceMicros: balance.availableMicros,
      allows: (url) => allowed.has(url.origin),
      close: () => agents.close(),
    };
  } catch (error) {
    await agents.close();
    throw error;
  }
}

async function organizationNamed(gateway: Gateway, name: string): Promise<string> {
  const { db } = gateway.database;
  const known = await findOrganizationByName(db, name);
  return known?.id ?? (await db.transaction((tx) => insertOrganization(tx, name))).id;
}

/** The same ports at every start where they are free, so that what is published stays as it is. */
async function startOnUsualPorts(log: Log): Promise<DemoAgents> {
  try {
    return await startDemoAgents({ port: USUAL_PORT, mcpPort: USUAL_MCP_PORT, log });
  } catch {
    return startDemoAgents({ log });
  }
}

function idOf(manifest: JsonObject): string {
  const id = manifest['agent_id'];
  invariant(typeof id === 'string', 'a published manifest names its agent');
  return id;
}

/** Publishes the manifest; where it differs from what is published (another port), as the next version. */
async function relist(gateway: Gateway, organizationId: string, manifest: JsonObject): Promise<string> {
  const { db } = gateway.database;
  const publish = (version: JsonObject): Promise<{ agentId: string }> =>
    db.transaction((tx) =>
      publishAgent(tx, { organizationId, manifest: version, checkEndpoint: () => undefined }),
    );
  try {
    return (await publish(manifest)).agentId;
  } catch (error) {
    if (!(error instanceof Problem && error.code === 'CONFLICT')) throw error;
    const current = await getAgentRecord(db, idOf(manifest));
    const known = { ...manifest, version: current.version };
    try {
      return (await publish(known)).agentId;
    } catch {
      return (
        await publish({ ...manifest, version: semver.inc(current.version, 'patch') ?? current.version })
      ).agentId;
    }
  }
}
