import { formatCredits } from '../base/money.ts';
import { Problem } from '../base/problem.ts';
import type { Agent } from '../catalog/agent.ts';
import { formatPrice, formatPriceLine } from '../catalog/describe.ts';
import type { Call, PricedCall } from './call.ts';
import type { CallDeps } from './deps.ts';

/**
 * The price in force: the cheapest of the one last shown to this key and today's, and nothing for a free call.
 * Where the two cannot be compared the call is refused with today's, which the key has then been shown. The
 * place of a free call that does not come to a hold is to be given back: see `takeFreePlace`.
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
  return { ...call, price, isFree };
}

/** The place of a free call: given back when the call ends, unless it came to a hold. */
export type FreePlace = AsyncDisposable & { keep(): void };

export function takeFreePlace(call: PricedCall, deps: CallDeps): FreePlace {
  let isKept = !call.isFree;
  return {
    keep: () => {
      isKept = true;
    },
    [Symbol.asyncDispose]: async () => {
      if (isKept) return;
      try {
        await deps.freeCalls.giveBack(call.callId);
      } catch (error) {
        // It costs the buyer the place for a minute, and must not change how the call ends.
        deps.log('warn', 'a free call was not given back', { call: call.callId, error: String(error) });
      }
    },
  };
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
