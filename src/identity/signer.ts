import { createPrivateKey, type KeyObject } from 'node:crypto';
import { parentPort, Worker, workerData } from 'node:worker_threads';
import type { Sign } from '../base/signer.ts';
import { openEd25519 } from './ed25519.ts';

const SIGNATURE_BYTES = 64;
// Waking another thread costs what two signatures do.
const FEW = 2;

type Waiting = { text: string; resolve(signature: Buffer): void; reject(error: unknown): void };

/**
 * Signs with Ed25519. While the thread of its own that signs is at work, what is asked for meanwhile waits for it
 * and goes together: a busy gateway runs out of its event loop first, and waking another thread for each signature
 * costs it as much as the signature would. A lone one is made at once.
 */
export function createSigner(privateKey: KeyObject): Sign {
  const signHere = openEd25519(privateKey);
  let waiting: Waiting[] = [];
  let underWay: Waiting[] = [];
  let thread: Worker | undefined;

  function start(): Worker {
    const started = new Worker(new URL(import.meta.url), {
      workerData: privateKey.export({ format: 'der', type: 'pkcs8' }),
    });
    started.on('message', (signatures: Uint8Array) => {
      const batch = underWay;
      underWay = [];
      // Before anybody hears of his signature: the thread works while they do.
      flush();
      // It keeps the process alive exactly while signatures are under way.
      if (underWay.length === 0) started.unref();
      const all = Buffer.from(signatures.buffer, signatures.byteOffset, signatures.byteLength);
      for (const [index, { resolve }] of batch.entries()) {
        resolve(all.subarray(index * SIGNATURE_BYTES, (index + 1) * SIGNATURE_BYTES));
      }
    });
    // A thread that died takes no signature with it: what it had is signed here, and the next batch starts another.
    started.on('exit', () => {
      if (thread === started) thread = undefined;
      const batch = underWay;
      underWay = [];
      signNow(batch);
      flush();
    });
    started.on('error', () => {});
    // Last: a listener for messages holds the process again.
    started.unref();
    return started;
  }

  function signNow(batch: Waiting[]): void {
    for (const { text, resolve, reject } of batch) {
      try {
        resolve(signHere(text));
      } catch (error) {
        reject(error);
      }
    }
  }

  function flush(): void {
    if (underWay.length > 0 || waiting.length === 0) return;
    const batch = waiting;
    waiting = [];
    if (batch.length <= FEW) return signNow(batch);
    thread ??= start();
    underWay = batch;
    thread.ref();
    thread.postMessage(
      batch.map(({ text }) => text),
      [],
    );
  }

  return (text) =>
    new Promise((resolve, reject) => {
      waiting.push({ text, resolve, reject });
      if (waiting.length === 1 && underWay.length === 0) setImmediate(flush);
    });
}

/** The other end of the thread. */
function serve(port: NonNullable<typeof parentPort>, key: Buffer): void {
  const sign = openEd25519(createPrivateKey({ key, format: 'der', type: 'pkcs8' }));
  port.on('message', (texts: string[]) => {
    const signatures = new Uint8Array(texts.length * SIGNATURE_BYTES);
    for (const [index, text] of texts.entries()) signatures.set(sign(text), index * SIGNATURE_BYTES);
    port.postMessage(signatures, [signatures.buffer]);
  });
}

if (parentPort && workerData instanceof Uint8Array) serve(parentPort, Buffer.from(workerData));
