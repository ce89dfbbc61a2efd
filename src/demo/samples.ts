import { readFileSync } from 'node:fs';
import { typesetPdf } from './sample-pdf.ts';

/** Documents of our own that the agents can be tried on without the internet, by path below `/samples/`. */
export const SAMPLES: Record<string, { contentType: string; bytes: Uint8Array<ArrayBuffer> }> = {
  'escrow.pdf': { contentType: 'application/pdf', bytes: typesetPdf(read('escrow.txt').toString('utf8')) },
  'article.html': { contentType: 'text/html; charset=utf-8', bytes: new Uint8Array(read('article.html')) },
  'orders.csv': { contentType: 'text/csv; charset=utf-8', bytes: new Uint8Array(read('orders.csv')) },
};

function read(file: string): Buffer {
  return readFileSync(new URL(`./samples/${file}`, import.meta.url));
}
