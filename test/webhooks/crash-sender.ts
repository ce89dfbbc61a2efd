import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { openDatabase } from '../../src/db/db.ts';
import { openWebhooks } from '../../src/webhooks/deps.ts';
import { dispatchWebhooks } from '../../src/webhooks/dispatch.ts';

/*
 * A gateway's worth of webhooks, to be killed. Argument: database URL. It tells and sends until nothing is left,
 * and ends.
 */
const [url = ''] = process.argv.slice(2);
const database = openDatabase(url, { log: silentLog, maxConnections: 4 });
const webhooks = openWebhooks({
  db: database.db,
  allowEndpoint: () => true,
  clock: systemClock,
  log: silentLog,
});
await dispatchWebhooks(webhooks);
await webhooks.close();
await database.close();
