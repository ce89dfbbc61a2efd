import { unreachable } from '../base/invariant.ts';
import { Problem, type ProblemCode } from '../base/problem.ts';
import type { Agent } from '../catalog/agent.ts';
import type { Owed } from './delivery.ts';
import type { ContentBlock, ResultRest, UpstreamOutcome, Usage } from '../upstream/upstream.ts';
import type { CallAnswer } from './call.ts';

/**
 * What each way the agent's side can end does to the credits on hold, and what the buyer is told. The
 * billing promise is this table: only a valid answer is paid for.
 */
export const OUTCOMES = {
  answer: { money: 'settle', code: null },
  agent_error: { money: 'refund', code: 'AGENT_ERROR' },
  unreachable: { money: 'refund', code: 'AGENT_UNREACHABLE' },
  timeout: { money: 'refund', code: 'TIMEOUT' },
  output_invalid: { money: 'refund', code: 'OUTPUT_INVALID' },
  cancelled: { money: 'refund', code: 'CANCELLED' },
  /** The buyer left a metered stream: what the agent had reported for the chunks that were delivered. */
  left_stream: { money: 'settle', code: 'CANCELLED' },
} as const satisfies Record<
  UpstreamOutcome['kind'] | 'left_stream',
  { money: 'settle' | 'refund'; code: ProblemCode | null }
>;

/** What the money will do: settle for an answer that keeps the agent's promise, refund for everything else. */
export type Verdict =
  | { kind: 'settle'; answer: CallAnswer; usage?: Usage | undefined }
  | { kind: 'settle_delivered'; owed: Owed }
  | ({ kind: 'refund'; problem: Problem; content?: ContentBlock[] } & ResultRest);

const FAULTS_TOLD = 5;

/** Holds the agent to its `output_schema` and names the refusal of everything that is not a valid answer. */
export function judge(outcome: UpstreamOutcome, agent: Agent): Verdict {
  if (outcome.kind !== 'answer') {
    const isHopeless = outcome.kind === 'agent_error' && outcome.inputAtFault === true;
    const problem = new Problem(
      OUTCOMES[outcome.kind].code,
      explain(outcome, agent),
      {},
      isHopeless ? { retryable: false } : {},
    );
    if (outcome.kind !== 'agent_error') return { kind: 'refund', problem };
    const { kind: _, detail: __, inputAtFault: ___, ...said } = outcome;
    return { kind: 'refund', problem, ...said };
  }
  if (agent.price.kind === 'per_unit' && outcome.usage === undefined) {
    return broken(agent, `is paid per ${agent.price.unit} and did not report how many it used`);
  }
  const { kind: _, usage, outputAsDoubles, ...answer } = outcome;
  if (agent.price.kind === 'per_unit' && usage?.unit !== undefined && usage.unit !== agent.price.unit) {
    return broken(agent, `is paid per ${agent.price.unit} and reported its usage in another unit`);
  }
  const faults = agent.checkOutput(outputAsDoubles === undefined ? answer.output : outputAsDoubles);
  if (faults.length > 0) {
    const told = faults.slice(0, FAULTS_TOLD).map((fault) => `${fault.path || '(root)'} ${fault.message}`);
    return broken(agent, `answered with something else than its output_schema promises: ${told.join('; ')}`);
  }
  return { kind: 'settle', answer, usage };
}

function broken(agent: Agent, how: string): Verdict {
  return {
    kind: 'refund',
    problem: new Problem('OUTPUT_INVALID', `${agent.id} ${how}. You were not charged.`),
  };
}

function explain(outcome: Exclude<UpstreamOutcome, { kind: 'answer' }>, agent: Agent): string {
  switch (outcome.kind) {
    case 'timeout':
      return `${agent.id} did not answer within ${agent.timeoutMs / 1_000} s. You were not charged.`;
    case 'cancelled':
      return 'The call was cancelled before the agent answered. You were not charged.';
    case 'agent_error':
      return `${agent.id} reported an error: ${sentence(outcome.detail)} You were not charged.`;
    case 'unreachable':
      return `${agent.id} could not be reached: ${sentence(outcome.detail)} You were not charged.`;
    case 'output_invalid':
      return `${agent.id} broke its promise: ${sentence(outcome.detail)} You were not charged.`;
    default:
      return unreachable(outcome);
  }
}

function sentence(detail: string): string {
  return /[.!?]$/.test(detail) ? detail : `${detail}.`;
}
