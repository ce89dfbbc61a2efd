import { unreachable } from '../base/invariant.ts';
import type { Json, JsonObject } from '../base/json.ts';
import { formatCredits, parseCredits } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import { formatAnswer } from '../calls/call.ts';
import { handOver } from '../calls/hand-over.ts';
import { matchesFilters, type Agent, type AgentFilters, type Category } from '../catalog/agent.ts';
import { formatAgentDetail, formatAgentSummary, formatPrice, formatPriceLine } from '../catalog/describe.ts';
import { compileSchema, type Check } from '../catalog/validator.ts';
import { assertScope } from '../identity/authenticate.ts';
import type { Caller } from '../identity/caller.ts';
import { getBalance } from '../ledger/accounts.ts';
import { findBudgetMeter, getMeter } from '../ledger/meters.ts';
import { callAgent } from './call-agent.ts';
import type { Connection } from './connection.ts';
import { metaInputSchema, type MetaToolName } from './meta-tool-list.ts';
import type { McpDeps, ToolCall } from './tool-call.ts';
import { formatOutput, type ToolResult } from './tool-result.ts';
import { readReceipt } from '../audit/receipts.ts';

/** Runs one of our own tools, under the same filters as the agents'. Throws Problem. */
export async function callMetaTool(
  name: MetaToolName,
  call: ToolCall,
  connection: Connection,
  deps: McpDeps,
): Promise<ToolResult> {
  const { input } = call;
  checkArguments(name, input);
  const { caller, view } = connection;
  switch (name) {
    case 'sentinel_search':
      assertScope(caller, 'agents:read');
      return formatOutput(await search(input, view.filters, caller, deps));
    case 'sentinel_describe':
      assertScope(caller, 'agents:read');
      return formatOutput(await describe(getAgent(input, view.filters, deps), caller, deps));
    case 'sentinel_quote':
      assertScope(caller, 'agents:read');
      return formatOutput(await quote(getAgent(input, view.filters, deps), caller, deps));
    case 'sentinel_call':
      return callAgent(
        {
          agentId: textOf(input, 'agent_id'),
          input: input['arguments'] ?? null,
          exactInput: call.exactInput?.['arguments'],
          idempotencyKey: input['idempotency_key'],
          maxCredits: input['max_credits'],
        },
        call,
        connection,
        deps,
      );
    case 'sentinel_get_call':
      assertScope(caller, 'calls:read');
      return formatOutput(await lookUpCall(textOf(input, 'call_id'), caller, deps));
    case 'sentinel_budget':
      assertScope(caller, 'billing:read');
      return formatOutput(await budget(caller, deps));
    default:
      return unreachable(name);
  }
}

const checks = new Map<MetaToolName, Check>();

function checkArguments(name: MetaToolName, input: JsonObject): void {
  let check = checks.get(name);
  if (check === undefined) {
    check = compileSchema(metaInputSchema(name));
    checks.set(name, check);
  }
  const faults = check(input);
  if (faults.length === 0) return;
  const told = faults.map(({ path, message }) => `${path || '(root)'} ${message}`).join('; ');
  throw new Problem('INVALID_INPUT', `The arguments of ${name} are wrong: ${told}`, { faults });
}

/** A member its schema says is a text. */
function textOf(input: JsonObject, name: string): string {
  return input[name] as string;
}

async function search(
  input: JsonObject,
  filters: AgentFilters,
  caller: Caller,
  deps: McpDeps,
): Promise<JsonObject> {
  const { category, max_price: maxPrice } = input;
  // A narrower question is allowed; the connection's own filters are never widened by it.
  if (filters.category !== undefined && category !== undefined && category !== filters.category)
    return { agents: [], total: 0 };
  const wanted = typeof maxPrice === 'string' ? parseCredits(maxPrice) : undefined;
  const maxPriceMicros = least(filters.maxPriceMicros, wanted);
  const found = deps.catalog.search({
    q: textOf(input, 'query'),
    limit: typeof input['limit'] === 'number' ? input['limit'] : 10,
    filters: {
      ...filters,
      ...(category === undefined ? {} : { category: category as Category }),
      ...(maxPriceMicros === undefined ? {} : { maxPriceMicros }),
    },
  });
  await deps.calls.prices.show(caller.keyId, found.items);
  return {
    agents: found.items.map((agent) => ({
      ...formatAgentSummary(agent),
      price_line: formatPriceLine(agent),
    })),
    total: found.total,
  };
}

function least(a: bigint | undefined, b: bigint | undefined): bigint | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a < b ? a : b;
}

function getAgent(input: JsonObject, filters: AgentFilters, deps: McpDeps): Agent {
  const agent = deps.catalog.find(textOf(input, 'agent_id'));
  if (agent && matchesFilters(agent, filters)) return agent;
  throw new Problem('NOT_FOUND', 'There is no such agent here. Find one with sentinel_search.');
}

async function describe(agent: Agent, caller: Caller, deps: McpDeps): Promise<JsonObject> {
  await deps.calls.prices.show(caller.keyId, [agent]);
  const detail = formatAgentDetail(agent) as unknown as JsonObject;
  return { ...detail, free_remaining: await freeRemaining(agent, caller, deps) };
}

async function quote(agent: Agent, caller: Caller, deps: McpDeps): Promise<JsonObject> {
  await deps.calls.prices.show(caller.keyId, [agent]);
  return {
    agent_id: agent.id,
    version: agent.version,
    currency: 'credit',
    price: formatPrice(agent.price),
    most_it_can_cost: formatCredits(agent.price.maxMicros),
    price_line: formatPriceLine(agent),
    free_remaining: await freeRemaining(agent, caller, deps),
  };
}

/** Of this month's free calls. */
function freeRemaining(agent: Agent, caller: Caller, deps: McpDeps): Promise<number> {
  const tier = { accountId: caller.accountId, agentId: agent.id, at: new Date(deps.clock.now()) };
  return deps.calls.freeCalls.countLeft(tier, agent.price.freeTierCalls);
}

async function lookUpCall(callId: string, caller: Caller, deps: McpDeps): Promise<JsonObject> {
  const found = await handOver(callId, caller, deps.calls);
  if (!found) throw new Problem('NOT_FOUND', 'There is no such call, or it is still running.');
  const { call, handedOver } = found;
  if (!handedOver) return call;
  return {
    ...call,
    answer: formatAnswer(handedOver.answer) as JsonObject,
    receipt: readReceipt(handedOver.receipt) as unknown as JsonObject,
  };
}

async function budget(caller: Caller, deps: McpDeps): Promise<JsonObject> {
  const { db } = deps.calls;
  const { availableMicros, heldMicros } = await getBalance(db, caller.accountId);
  return {
    currency: caller.currency,
    available: formatCredits(availableMicros),
    on_hold: formatCredits(heldMicros),
    key: {
      id: caller.keyId,
      max_per_call: credits(caller.caps.maxPerCallMicros),
      ...(await spent(caller.meterId, deps)),
      rate_per_minute: caller.ratePerMinute,
      max_concurrent: caller.maxConcurrent,
    },
    organization: await spent(await findBudgetMeter(db, caller.accountId), deps),
  };
}

async function spent(meterId: bigint | undefined, deps: McpDeps): Promise<Record<string, Json>> {
  if (meterId === undefined) return { cap_day: null, cap_month: null, cap_total: null };
  const meter = await getMeter(deps.calls.db, meterId, new Date(deps.clock.now()));
  return {
    cap_day: credits(meter.capDayMicros),
    cap_month: credits(meter.capMonthMicros),
    cap_total: credits(meter.capTotalMicros),
    spent_today: formatCredits(meter.usedDayMicros),
    spent_this_month: formatCredits(meter.usedMonthMicros),
    spent_in_total: formatCredits(meter.usedTotalMicros),
  };
}

function credits(micros: bigint | undefined): string | null {
  return micros === undefined ? null : formatCredits(micros);
}
