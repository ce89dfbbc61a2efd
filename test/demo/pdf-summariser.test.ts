import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { typesetPdf } from '../../src/demo/sample-pdf.ts';
import { SAMPLES } from '../../src/demo/samples.ts';
import { refusalOf, startSeller } from './seller.ts';

const sample = SAMPLES['escrow.pdf']!.bytes;
const PDF = { 'content-type': 'application/pdf' };

/** A security handler whose user password is not the empty one (ISO 32000-1, 7.6.3). */
function encrypted(): Uint8Array {
  const zeros = '00'.repeat(32);
  const dictionary = `/Encrypt << /Filter /Standard /V 1 /R 2 /O <${zeros}> /U <${zeros}> /P -4 >> /ID [<00> <00>]`;
  return Buffer.from(Buffer.from(sample).toString('latin1').replace('/Info 5 0 R', dictionary), 'latin1');
}

let seller: Awaited<ReturnType<typeof startSeller>>;
before(async () => {
  seller = await startSeller({
    '/escrow.pdf': { headers: PDF, body: sample },
    '/web.pdf': { headers: { 'content-type': 'text/html' }, body: '<p>Please log in</p>' },
    '/cut.pdf': { headers: PDF, body: '%PDF-1.4\n1 0 obj\n<<' },
    '/locked.pdf': { headers: PDF, body: encrypted() },
    '/scan.pdf': { headers: PDF, body: typesetPdf('') },
    '/long.pdf': { headers: PDF, body: typesetPdf('A line of its own.\n'.repeat(101 * 27)) },
    '/huge.pdf': { headers: { ...PDF, 'content-length': '20000001' } },
    '/plain%20name.pdf': {
      headers: PDF,
      body: typesetPdf('Deposits are returned within thirty days after the contract has ended.'),
    },
  });
});
after(() => seller.close());

const summarise = (path: string, maxBullets = 5) =>
  seller.post('/pdf-summariser', { url: seller.origin + path, max_bullets: maxBullets });

void test('a summary is the sentences of the document that say most, in reading order, with their pages', async () => {
  const response = await summarise('/escrow.pdf');

  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), {
    title: 'Escrow and Double-Entry Bookkeeping',
    pages: 3,
    words: 924,
    bullets: [
      'If the buyer pays first, the seller may never deliver.',
      'An escrow has exactly two ways to end.',
      'Placing a hold is a transaction that debits the buyer and credits the escrow account.',
      'On success 14.55 credits move from escrow to the seller and 0.45 credits move from escrow to the platform.',
      'At any moment the balance of the escrow account must equal the sum of all holds that are still open.',
    ],
    bullet_pages: [1, 1, 2, 2, 2],
  });
});

void test('the same document gives byte for byte the same summary', async () => {
  const [first, second] = await Promise.all([summarise('/escrow.pdf', 20), summarise('/escrow.pdf', 20)]);

  assert.equal(await first.text(), await second.text());
});

void test('ten bullets are the default, and a short document gives as many as it has', async () => {
  const long = await seller.post('/pdf-summariser', { url: `${seller.origin}/escrow.pdf` });
  const short = await summarise('/plain%20name.pdf', 50);

  assert.equal(((await long.json()) as { bullets: string[] }).bullets.length, 10);
  assert.deepEqual(((await short.json()) as { bullets: string[] }).bullets, [
    'Deposits are returned within thirty days after the contract has ended.',
  ]);
});

void test('a document without a title is called after its file', async () => {
  const response = await seller.post('/pdf-summariser', { url: `${seller.origin}/plain%20name.pdf` });

  assert.equal(((await response.json()) as { title: string }).title, 'plain name');
});

void test('a stream brings one chunk for each bullet, in order, and then the whole output', async () => {
  const whole = (await (await summarise('/escrow.pdf', 4)).json()) as { bullets: string[] };
  const response = await seller.post(
    '/pdf-summariser',
    { url: `${seller.origin}/escrow.pdf`, max_bullets: 4 },
    { accept: 'application/json, text/event-stream' },
  );

  assert.match(response.headers.get('content-type') ?? '', /^text\/event-stream/);
  const frames = (await response.text()).trim().split('\n\n');
  assert.deepEqual(frames, [
    ...whole.bullets.map((bullet) => `event: chunk\ndata: ${bullet}`),
    `event: done\ndata: ${JSON.stringify({ output: whole })}`,
  ]);
});

const refused = [
  ['/web.pdf', 422, /not a PDF/],
  ['/cut.pdf', 422, /damaged/],
  ['/locked.pdf', 422, /encrypted and needs a password/],
  ['/scan.pdf', 422, /contains no text; it is probably scanned/],
  ['/long.pdf', 422, /has 10\d pages; at most 100/],
  ['/huge.pdf', 413, /larger than 20 MB/],
  ['/gone.pdf', 422, /answered with HTTP status 404/],
] as const;

for (const [path, status, message] of refused) {
  void test(`${path} is refused with ${status} and the reason, also when a stream was asked for`, async () => {
    for (const accept of ['application/json', 'text/event-stream']) {
      const response = await seller.post('/pdf-summariser', { url: seller.origin + path }, { accept });

      assert.equal(response.status, status);
      assert.match(await refusalOf(response), message);
    }
  });
}

void test('an input that breaks the schema is refused with every fault named', async () => {
  const response = await seller.post('/pdf-summariser', { max_bullets: 51, pages: 3 });

  assert.equal(response.status, 400);
  const message = await refusalOf(response);
  assert.match(message, /required property 'url'/);
  assert.match(message, /\/max_bullets must be <= 50/);
  assert.match(message, /additional properties \(pages\)/);
});

void test('a body that is no JSON object, or too large, is refused', async () => {
  assert.equal((await seller.post('/pdf-summariser', '{"url":')).status, 400);
  assert.equal((await seller.post('/pdf-summariser', '[1]')).status, 400);
  assert.equal((await seller.post('/pdf-summariser', ' '.repeat(5_000_001))).status, 413);
});
