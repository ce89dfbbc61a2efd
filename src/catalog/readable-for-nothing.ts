import type { Fault } from '../base/problem.ts';
import { mayRunOn, type Agent } from './agent.ts';

/**
 * A buyer who hangs up before the last frame has read most of a stream, and pays for what a metered agent had reported
 * by then, or nothing. The seller hears of it when such a manifest is published.
 */
export function findReadableForNothing({ manifest }: Pick<Agent, 'manifest'>): Fault[] {
  if (manifest.capabilities?.streaming !== true || mayRunOn({ manifest })) return [];
  return [{ path: '/capabilities/streaming', message: messageFor(manifest.pricing.model) }];
}

function messageFor(model: 'per_call' | 'per_unit'): string {
  const otherwise = 'With "idempotent" or "keep_running" the call runs on and is paid.';
  return model === 'per_unit'
    ? `a buyer who hangs up before the end pays only what your agent had reported by then: say after each chunk what was used so far ("event: usage", or _meta["xyz.sentinel/usage"] of an MCP progress). ${otherwise}`
    : `a buyer can read the chunks and hang up before the end, and pays nothing. ${otherwise}`;
}
