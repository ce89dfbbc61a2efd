import { silentLog } from '../../src/base/log.ts';
import { newSigningKeyPem } from '../../src/identity/signing-key.ts';
import { createGateway } from '../../src/runtime/gateway.ts';

/*
 * A gateway that makes one call and is killed after the money has moved and before it can say so: what it does
 * between the two is sign the receipt. Arguments: database URL, API key, agent.
 */
const [databaseUrl = '', key = '', agentId = ''] = process.argv.slice(2);
const gateway = await createGateway({
  databaseUrl,
  redisUrl: undefined,
  publicUrl: 'http://127.0.0.1',
  isBoundLocally: true,
  signingKeyPem: newSigningKeyPem(),
  feeBasisPoints: 300n,
  allowedHosts: [],
  allowedOrigins: [],
  allowEndpoint: () => true,
  log: silentLog,
});
gateway.deps.receipts = {
  ...gateway.deps.receipts,
  sign: () => {
    process.kill(process.pid, 'SIGKILL');
    return new Promise(() => {});
  },
};
const answer = await gateway.app.request(`http://127.0.0.1/v1/agents/${agentId}/invoke`, {
  method: 'POST',
  headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', host: '127.0.0.1' },
  body: JSON.stringify({ inputs: { text: 'hi' } }),
});
console.log(answer.status, await answer.text());
