import { canonicalJson, hashJson, hashText } from '../base/canonical-json.ts';
import { isJsonObject, type JsonObject } from '../base/json.ts';
import { Problem } from '../base/problem.ts';
import { mayRunOn, type Agent } from '../catalog/agent.ts';
import { assertScope } from '../identity/authenticate.ts';
import type { Attempt, Call, PaidCallRequest } from './call.ts';
import { checkArgumentBytes } from './payload-limit.ts';

/** May this key call, is the agent there, do the arguments fit? Throws FORBIDDEN, NOT_FOUND or INVALID_INPUT. */
export function checkCall(attempt: Attempt): Call {
  const { agent, request, caller } = attempt;
  assertScope(caller, 'agents:invoke');
  if (!agent) throw noSuchAgent();
  const text = writeArguments(request.exactInput ?? request.input);
  // First of all, because what an agent's schema costs to check is bounded only for what the agent takes.
  if (text !== undefined) checkArgumentBytes(agent, text);
  const checked = checkInput(agent, request.input);
  const input = request.exactInput ?? checked;
  return { ...attempt, agent, input, ...hashPurchase(agent, text, request) };
}

/** Hidden, suspended, filtered out or never there: the answer is the same, so it tells nothing. */
function noSuchAgent(): Problem {
  return new Problem(
    'NOT_FOUND',
    'There is no such agent here. List the tools again, or search with GET /v1/agents/search.',
  );
}

function checkInput(agent: Agent, input: unknown): JsonObject {
  const faults = isJsonObject(input)
    ? agent.checkInput(input)
    : [{ path: '', message: 'must be a JSON object' }];
  if (faults.length === 0) return input as JsonObject;
  const told = faults.map((fault) => `${fault.path || '(root)'} ${fault.message}`).join('; ');
  throw new Problem('INVALID_INPUT', `The arguments do not match input_schema: ${told}`, { faults });
}

/** The canonical form of the arguments; undefined for what has none. */
function writeArguments(input: unknown): string | undefined {
  try {
    return isJsonObject(input) ? canonicalJson(input) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * What was asked, for the receipt, and what makes two requests the same purchase; the latter only where something
 * may be replayed or joined. A key stands for its arguments whatever the seller has published since; an answer is only
 * handed over to a call of the same version.
 */
function hashPurchase(
  agent: Agent,
  argumentsText: string | undefined,
  request: PaidCallRequest,
): Pick<Call, 'inputHash' | 'requestHash' | 'keyedHash'> {
  const isKeyed = request.idempotencyKey !== undefined;
  if (argumentsText === undefined) {
    // RFC 8785 has no form for half a surrogate pair, nor for a number beyond the doubles.
    const message = 'holds half a character or a number that is too large, so no receipt can name it';
    throw new Problem('INVALID_INPUT', `The arguments do not match input_schema: (root) ${message}`, {
      faults: [{ path: '', message }],
    });
  }
  const inputHash = hashText(argumentsText);
  return {
    inputHash,
    requestHash:
      isKeyed || mayRunOn(agent)
        ? hashJson({ agent: agent.id, version: agent.version, inputHash })
        : undefined,
    keyedHash: isKeyed ? hashJson({ agent: agent.id, inputHash }) : undefined,
  };
}
