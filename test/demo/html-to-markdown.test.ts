import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { MarkdownPage } from '../../src/demo/html-markdown.ts';
import { SAMPLES } from '../../src/demo/samples.ts';
import { refusalOf, startSeller } from './seller.ts';

const TEXT = 'Gebühr für „Käufer“';
const HTML = { 'content-type': 'text/html' };

/** One page in many encodings: what it is, its headers, its bytes. */
const encoded: [string, Record<string, string>, Uint8Array][] = [
  ['declared by the header', { 'content-type': 'text/html; charset=ISO-8859-1' }, latin1(`<p>${TEXT}`)],
  ['declared by a meta', HTML, latin1(`<!-- <meta charset=utf-8> --><META CharSet = "latin1"><p>${TEXT}`)],
  [
    'declared by an old meta',
    HTML,
    latin1(`<meta http-equiv=Content-Type content="text/html; charset=windows-1252"><p>${TEXT}`),
  ],
  ['declared late', HTML, latin1(`<script>${' '.repeat(3_000)}</script><meta charset=latin1><p>${TEXT}`)],
  ['declared as XML', HTML, latin1(`<?xml version="1.0" encoding="iso-8859-1"?><p>${TEXT}`)],
  ['declared as nonsense first', HTML, latin1(`<meta charset=klingon><meta charset=latin1><p>${TEXT}`)],
  ['not declared and in UTF-8', HTML, Buffer.from(`<p>${TEXT}`)],
  ['not declared and in Latin-1', HTML, latin1(`<p>${TEXT}`)],
  ['marked against its meta', HTML, Buffer.from(`\ufeff<meta charset=latin1><p>${TEXT}`)],
  [
    'marked against its header',
    { 'content-type': 'text/html; charset=latin1' },
    Buffer.from(`\ufeff<p>${TEXT}`),
  ],
  ['in UTF-16 with a mark', HTML, Buffer.from(`\ufeff<p>${TEXT}`, 'utf16le')],
  ['in UTF-16 with its bytes swapped', HTML, Buffer.from(`\ufeff<p>${TEXT}`, 'utf16le').swap16()],
  ['in UTF-16 without a mark', HTML, Buffer.from(`<p>${TEXT}`, 'utf16le')],
  ['claiming UTF-16 in plain bytes', HTML, Buffer.from(`<meta charset=utf-16><p>${TEXT}`)],
];

/** Windows-1252, which is what the web means by Latin-1. */
function latin1(text: string): Uint8Array {
  return Buffer.from(text.replaceAll('„', '\x84').replaceAll('“', '\x93'), 'latin1');
}

let seller: Awaited<ReturnType<typeof startSeller>>;
before(async () => {
  seller = await startSeller({
    '/article.html': { headers: { 'content-type': 'text/html' }, body: SAMPLES['article.html']!.bytes },
    '/posts/relative.html': {
      headers: { 'content-type': 'text/html' },
      body: '<p><a href="../next?a=1">next</a> <a href="#top">top</a> <img src="/i.png" alt="a picture"></p>',
    },
    ...Object.fromEntries(
      encoded.map(([what, headers, body]) => [`/${what.replaceAll(' ', '-')}`, { headers, body }]),
    ),
    '/strict.xhtml': {
      headers: { 'content-type': 'application/xhtml+xml' },
      body: '<html><head><title/><script src="a.js"/></head><body><p id="a"/><p>1 <![CDATA[< 2]]><br/>3</p></body></html>',
    },
    '/data.json': { headers: { 'content-type': 'application/json' }, body: '{}' },
  });
});
after(() => seller.close());

async function convert(input: Record<string, unknown>): Promise<MarkdownPage> {
  const response = await seller.post('/html-to-markdown', input);
  assert.equal(response.status, 200);
  return (await response.json()) as MarkdownPage;
}

const convertAll = async (html: string) => (await convert({ html, main_content_only: false })).markdown;

void test('an article keeps its headings, table, code, lists and quotation, and loses what stands around it', async () => {
  const page = await convert({ url: `${seller.origin}/article.html` });

  assert.equal(page.title, 'How idempotency keys work');
  assert.equal(page.links_count, 2);
  assert.equal(page.words, 257);
  const blocks = page.markdown.split('\n\n');
  assert.equal(blocks[0], '# How idempotency keys work');
  assert.match(blocks[1] ?? '', /An \*\*idempotency key\*\* lets it _ask again safely_: the server/);
  assert.equal(
    blocks[4],
    '| What the server finds | What it does |\n| --- | --- |\n| The key is new | Store it, then do the work |\n' +
      '| The key is known and the work is done | Return the stored answer |\n' +
      '| The key is known and the work is running | Wait for it, or answer `409 Conflict` |',
  );
  assert.equal(blocks[8]?.split('\n')[0], '```sh');
  assert.match(blocks[10] ?? '', /^1\. Choose the key _before_ the first attempt.*\n2\. Use a new key/);
  assert.equal(blocks[11], '> A retry without a key is a second order.');
  assert.match(
    blocks[12] ?? '',
    /\[Retries that do not hurt\]\(https:\/\/notebook\.example\/posts\/retries\)/,
  );
  assert.doesNotMatch(page.markdown, /Popular posts|Archive|Privacy|tracking|sans-serif/);
});

void test('the whole page has its navigation and footer when it is asked for', async () => {
  const page = await convert({ url: `${seller.origin}/article.html`, main_content_only: false });

  assert.equal(page.links_count, 8);
  assert.match(page.markdown, /^\[Home\]\(https:\/\/notebook\.example\/\)/);
  assert.match(page.markdown, /\[Privacy\]\(https:\/\/notebook\.example\/privacy\)$/);
});

void test('links and images become absolute, and links within the page stay', async () => {
  const { markdown } = await convert({
    url: `${seller.origin}/posts/relative.html`,
    main_content_only: false,
  });

  assert.equal(
    markdown,
    `[next](${seller.origin}/next?a=1) [top](#top) ![a picture](${seller.origin}/i.png)`,
  );
});

for (const [what] of encoded) {
  void test(`the characters of a page ${what} are read as a browser reads them`, async () => {
    const { markdown, words } = await convert({ url: `${seller.origin}/${what.replaceAll(' ', '-')}` });

    assert.deepEqual([markdown, words], [TEXT, 3]);
  });
}

void test('a page that is XML has elements without an end and literal text', async () => {
  const { markdown } = await convert({ url: `${seller.origin}/strict.xhtml`, main_content_only: false });

  assert.equal(markdown, '1 < 2  \n3');
});

const conversions = [
  [
    'nested and numbered lists',
    '<ol start="3"><li>a<ul><li>b</li></ul></li><li>c</li></ol>',
    '3. a\n   - b\n4. c',
  ],
  [
    'cells with pipes and spans',
    '<table><tr><td>a|b<td>c<tr><td colspan=2>d</table>',
    '| a\\|b | c |\n| --- | --- |\n| d | |',
  ],
  ['tables that only lay out', '<table><tr><td><h2>a</h2><td>b<tr><td>c<td>d</table>', '## a\n\nb\n\nc\n\nd'],
  ['text that looks like Markdown', '<p>1. not a *list*</p>', '1\\. not a \\*list\\*'],
  ['links that run scripts', '<p><a href="javascript:alert(1)">a</a></p>', 'a'],
  ['pictures inside the page', '<p>a<img src="data:image/png;base64,AAAA"></p>', 'a'],
] as const;

for (const [what, html, markdown] of conversions) {
  void test(`${what} are converted as a reader expects`, async () => {
    assert.equal(await convertAll(html), markdown);
  });
}

void test('what cannot be converted is refused with the reason', async () => {
  const refusals = [
    [{}, 400, /exactly one of url and html/],
    [{ url: 'https://a.example/', html: '<p>a' }, 400, /exactly one of url and html/],
    [{ html: '<script>render()</script>' }, 422, /no text; it may be built by scripts/],
    [{ html: `${'<div>'.repeat(5_000)}a` }, 422, /nested too deeply/],
    [{ url: `${seller.origin}/data.json` }, 422, /is of the type application\/json/],
  ] as const;
  for (const [input, status, message] of refusals) {
    const response = await seller.post('/html-to-markdown', input);
    assert.equal(response.status, status);
    assert.match(await refusalOf(response), message);
  }
});
