import { createPrivateKey, type KeyObject } from 'node:crypto';
import { parentPort, Worker, workerData } from 'node:worker_threads';
import { createBatcher } from '../base/batcher.ts';
import type { Sign } from '../base/signer.ts';
import { openEd25519 } from './ed25519.ts';

const SIGNATURE_BYTES = 64;
// Waking another thread costs what two signatures do.
const FEW = 2;
// A millisecond of signing: the first of many are told while the others are being made.
const MOST = 48;
// The thread finds the next batch when it is done with one; what is beyond that waits, and goes in a fuller one.
const IN_FLIGHT = 2;

/**
 * Signs with Ed25519, on a thread of its own: a busy gateway runs out of its event loop first. What one turn of
 * the loop asks for goes there together, since waking the thread for each costs as much as the signature would; a
 * few are made here.
 */
export function createSigner(privateKey: KeyObject): Sign {
  const signHere = openEd25519(privateKey);
  const signThere = openThread(privateKey, signHere);
  const batcher = createBatcher<string, Buffer>(
    (texts) => (texts.length <= FEW ? Promise.resolve(texts.map(signHere)) : signThere(texts)),
    { maxBatch: MOST, inFlight: IN_FLIGHT },
  );
  return (text) => batcher.add(text);
}

type Batch = { texts: string[]; resolve(signatures: Buffer[]): void };

/** A thread that is there from the first batch on, and signs one after the other. */
function openThread(
  privateKey: KeyObject,
  signHere: (text: string) => Buffer,
): (texts: string[]) => Promise<Buffer[]> {
  const underWay: Batch[] = [];
  let thread: Worker | undefined;

  function start(): Worker {
    const started = new Worker(new URL(import.meta.url), {
      workerData: privateKey.export({ format: 'der', type: 'pkcs8' }),
    });
    started.on('message', (signatures: Uint8Array) => {
      const batch = underWay.shift();
      // It keeps the process alive exactly while signatures are under way.
      if (underWay.length === 0) started.unref();
      batch?.resolve(split(signatures));
    });
    // A thread that died takes no signature with it: what it had is signed here, and the next batch starts another.
    started.on('exit', () => {
      if (thread === started) thread = undefined;
      for (const { texts, resolve } of underWay.splice(0)) resolve(texts.map(signHere));
    });
    started.on('error', () => {});
    // Last: a listener for messages holds the process again.
    started.unref();
    return started;
  }

  return (texts) =>
    new Promise((resolve) => {
      thread ??= start();
      underWay.push({ texts, resolve });
      thread.ref();
      thread.postMessage(texts, []);
    });
}

function split({ buffer, byteOffset, byteLength }: Uint8Array): Buffer[] {
  const signatures: Buffer[] = [];
  for (let at = 0; at < byteLength; at += SIGNATURE_BYTES) {
    signatures.push(Buffer.from(buffer, byteOffset + at, SIGNATURE_BYTES));
  }
  return signatures;
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
