import { publishProof, type ProofDeps } from '../audit/proofs.ts';
import type { BillingDeps } from '../billing/deps.ts';
import { releaseEarnings } from '../billing/earnings.ts';
import { tellThresholds } from '../billing/notices.ts';
import { decideOverdueDisputes } from '../billing/overdue-disputes.ts';
import { resumePayouts, runScheduledPayouts } from '../billing/payout-jobs.ts';
import { reconcilePayouts } from '../billing/reconcile-payouts.ts';
import { reconcileTopUps } from '../billing/reconcile-top-ups.ts';
import { runAutoTopUps } from '../billing/run-auto-top-ups.ts';
import type { CallDeps } from '../calls/deps.ts';
import type { Reconcile } from '../calls/reconcile.ts';
import { removeExpired } from '../calls/sweeper.ts';
import type { WebhookDeps } from '../webhooks/deps.ts';
import { dispatchWebhooks } from '../webhooks/dispatch.ts';
import { forgetDeliveries } from '../webhooks/forget-deliveries.ts';
import type { Schedule } from './job.ts';
import { reconcileLedger } from './reconcile-ledger.ts';

export type ScheduleDeps = {
  calls: CallDeps;
  billing: BillingDeps;
  webhooks: WebhookDeps;
  proofs: ProofDeps;
  reconcile: Reconcile;
};

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** What the gateway does without being asked. What money waits for within seconds is not here but swept by every process. */
export function createSchedule({ calls, billing, webhooks, proofs, reconcile }: ScheduleDeps): Schedule {
  return {
    'dispatch-webhooks': {
      repeat: { everyMs: SECOND_MS },
      retries: 0,
      run: () => dispatchWebhooks(webhooks),
    },
    'auto-top-ups': { repeat: { everyMs: MINUTE_MS }, retries: 0, run: () => runAutoTopUps(billing) },
    'resume-payouts': { repeat: { everyMs: MINUTE_MS }, retries: 0, run: () => resumePayouts(billing) },
    'tell-thresholds': { repeat: { everyMs: MINUTE_MS }, retries: 0, run: () => tellThresholds(billing) },
    'decide-disputes': {
      repeat: { everyMs: 5 * MINUTE_MS },
      retries: 2,
      run: () => decideOverdueDisputes(billing),
    },
    forget: {
      repeat: { everyMs: 10 * MINUTE_MS },
      retries: 2,
      run: async () => {
        await removeExpired(calls);
        await forgetDeliveries(webhooks);
      },
    },
    'reconcile-top-ups': {
      repeat: { everyMs: 15 * MINUTE_MS },
      retries: 3,
      run: () => reconcileTopUps(billing),
    },
    'release-earnings': { repeat: { everyMs: HOUR_MS }, retries: 5, run: () => releaseEarnings(billing) },
    'scheduled-payouts': {
      repeat: { everyMs: HOUR_MS },
      retries: 5,
      run: () => runScheduledPayouts(billing),
    },
    'reconcile-payouts': {
      repeat: { everyMs: HOUR_MS },
      retries: 3,
      run: () => reconcilePayouts(billing),
    },
    // The day it proves has ended, and its last calls with it.
    'publish-proof': {
      repeat: { cron: '10 0 * * *', apartMs: DAY_MS },
      retries: 8,
      run: () => publishProof(proofs),
    },
    'reconcile-ledger': {
      repeat: { cron: '40 0 * * *', apartMs: DAY_MS },
      retries: 5,
      run: () => reconcileLedger(reconcile, calls.log),
    },
  };
}
