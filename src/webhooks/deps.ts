import { setTimeout as wait } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Db } from '../db/db.ts';
import { createFlights, type FlightLimits, type Flights } from './flights.ts';
import { createAttemptRecorder, type AttemptRecorder } from './record-attempts.ts';
import { createSender, type Sender, type SenderOptions } from './sender.ts';

/** What the webhooks work with; built once, in runtime/. */
export type WebhookDeps = {
  db: Db;
  sender: Sender;
  /** What this process is sending at the moment. */
  flights: Flights;
  recorder: AttemptRecorder;
  /** For durations alone: what time it is, the database says. */
  clock: Pick<Clock, 'elapsed'>;
  log: Log;
};

/** Receivers that answer at once are heard out when the gateway stops; the others hear of it all again. */
const LAST_ANSWERS_MS = 2_000;

/** `close` lets go of the connections when what is being sent has ended, or soon; whatever is due stays due. */
export type Webhooks = WebhookDeps & { close(): Promise<void> };

export function openWebhooks(
  options: SenderOptions & { db: Db; clock: Pick<Clock, 'elapsed'>; log: Log; limits?: FlightLimits },
): Webhooks {
  const { db, clock, log, limits, ...senderOptions } = options;
  const sender = createSender(senderOptions);
  const flights = createFlights(limits);
  return {
    db,
    sender,
    flights,
    recorder: createAttemptRecorder(db),
    clock,
    log,
    close: async () => {
      await Promise.race([flights.drain(), wait(LAST_ANSWERS_MS, undefined, { ref: false })]);
      await sender.close();
      // Their ends are still to be recorded.
      await flights.drain();
    },
  };
}
