import type { JsonObject } from '../base/json.ts';
import { formatPrice, formatToolDescription } from '../catalog/describe.ts';
import type { Agent } from '../catalog/agent.ts';

// Agents are immutable, so their text is too, and it goes when they do.
const texts = new WeakMap<Agent, string>();

/** An agent as an entry of `tools/list`, in JSON. */
export function formatTool(agent: Agent): string {
  let text = texts.get(agent);
  if (text === undefined) {
    text = JSON.stringify(toolOf(agent));
    texts.set(agent, text);
  }
  return text;
}

function toolOf(agent: Agent): JsonObject {
  const { manifest } = agent;
  const outputSchema = manifest.output_schema;
  return {
    name: agent.toolName,
    title: manifest.display_name,
    description: formatToolDescription(agent),
    inputSchema: manifest.input_schema,
    // Hosts of the 2025 revisions drop the whole list when an output schema's root is not an object.
    ...(outputSchema?.['type'] === 'object' ? { outputSchema } : {}),
    annotations: {
      title: manifest.display_name,
      openWorldHint: true,
      ...(manifest.capabilities?.idempotent === true ? { idempotentHint: true } : {}),
    },
    _meta: {
      'xyz.sentinel/price': priceOf(agent),
      'xyz.sentinel/trust': { score: agent.trustScore, badge: agent.badge },
      'xyz.sentinel/agent': { id: agent.id, version: agent.version, manifest_hash: agent.manifestHash },
    },
  };
}

function priceOf(agent: Agent): JsonObject {
  const words = formatPrice(agent.price);
  return words.model === 'per_call'
    ? { currency: 'credit', ...words, max: words.credits_per_call }
    : { currency: 'credit', ...words };
}
