import { formatCredits } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import type { Agent, Price } from '../catalog/agent.ts';
import { formatPrice, formatPriceLine } from '../catalog/describe.ts';
import type { CallDeps } from './deps.ts';
import type { Call } from './paid-call.ts';

/** A call whose price is settled on: whatever is published while it runs, this is what it costs. */
export type PricedCall = Call & {
  readonly price: Price;
  /** One of the buyer's free calls of this month: held and settled at nothing. */
  readonly isFree: boolean;
};

/**
 * The price in force: the cheapest of the one last shown to this key and today's, and nothing for a free call.
 * Where the two cannot be compared the call is refused with today's, which the key has then been shown. A free
 * call that does not come to a hold is to be given back with `giveBackFreeCall`.
 */
export async function priceCall(call: Call, deps: CallDeps): Promise<PricedCall> {
  const { agent, caller } = call;
  const { price, hasChanged } = agent.betterPrices
    ? await deps.prices.inForce(caller.keyId, agent)
    : { price: agent.price, hasChanged: false };
  const isFree =
    price.freeTierCalls > 0 &&
    (await deps.freeCalls.take(
      call.callId,
      { accountId: caller.accountId, agentId: agent.id, at: call.startedAt },
      price.freeTierCalls,
    ));
  if (hasChanged && !isFree) {
    await deps.prices.show(caller.keyId, [agent]);
    throw priceChanged(agent);
  }
  return Object.assign(call, { price, isFree });
}

/** The call came to nothing before it had a hold. Failing to say so costs the buyer the place for a minute. */
export async function giveBackFreeCall(call: PricedCall, deps: CallDeps): Promise<void> {
  try {
    await deps.freeCalls.giveBack(call.callId);
  } catch (error) {
    deps.log('warn', 'a free call was not given back', { call: call.callId, error: String(error) });
  }
}

/**
 * What is held: a fixed price, or a metered one's maximum. Never less because the buyer allows less: the agent
 * does not know of that limit and would work for nothing, so such a call is refused before it begins.
 */
export function mostItMayCost({ price, isFree }: PricedCall): bigint {
  return isFree ? 0n : price.maxMicros;
}

function priceChanged(agent: Agent): Problem {
  return new Problem(
    'PRICE_CHANGED',
    `${agent.id} is priced in another way than when this key was last shown its price. Nothing was charged. Now: ${formatPriceLine(agent)} Call again to accept it.`,
    { needed: formatCredits(agent.price.maxMicros), price: formatPrice(agent.price) },
  );
}
