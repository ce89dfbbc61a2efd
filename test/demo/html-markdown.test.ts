import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { htmlToMarkdown, type MarkdownPage } from '../../src/demo/html-markdown.ts';
import { Refusal } from '../../src/demo/refusal.ts';

function convert(source: string, baseUrl?: string): MarkdownPage {
  return htmlToMarkdown({ source, baseUrl, mainContentOnly: false });
}

const conversions: [promise: string, cases: [html: string, markdown: string][]][] = [
  [
    'code keeps every character, its lines and its language',
    [
      ['<pre>a\n  b  \n\n\n\nc</pre>', '```\na\n  b  \n\n\n\nc\n```'],
      ['<pre class="lang-js">a</pre>', '```js\na\n```'],
      ['<pre><code class="hljs language-c++">a</code></pre>', '```c++\na\n```'],
      ['<div class="highlight highlight-source-ts"><pre>a</pre></div>', '```ts\na\n```'],
      ['<pre class="brush: php">a</pre><pre data-lang="go">b</pre>', '```php\na\n```\n\n```go\nb\n```'],
      ['<pre class="language-x`y">a</pre>', '```x\na\n```'],
      ['<pre>a<br>b<span style="display:block">c</span>d</pre>', '```\na\nb\nc\nd\n```'],
      ['<pre>a ```` b</pre>', '`````\na ```` b\n`````'],
      ['<pre># *a* &lt;b&gt; <b>c</b></pre>', '```\n# *a* <b> c\n```'],
      ['<xmp>a <b></xmp>', '```\na <b>\n```'],
      [
        '<blockquote><ul><li>a<pre>b\n\nc</pre></ul></blockquote>',
        '> - a\n>\n>   ```\n>   b\n>\n>   c\n>   ```',
      ],
      ['<ol><li><pre>a\nb</pre></ol>', '1. ```\n   a\n   b\n   ```'],
      ['<code>a <kbd>b</kbd></code> <tt><a href="/x"><code>c</code></a></tt>', '`a b` [`c`](/x)'],
      ['<p><code>a_b <b>c</b> `d`</code>', '`` a_b c `d` ``'],
      ['<p><code><a href="/x">A</a>.b</code>', '[`A`](/x)`.b`'],
      ['<p><kbd>Ctrl</kbd>+<kbd>C</kbd>', '`Ctrl`+`C`'],
    ],
  ],
  [
    'small text keeps its meaning',
    [
      ['6.02 × 10<sup>23</sup>, 10<sup>-3</sup>', '6.02 × 10^23, 10^-3'],
      ['H<sub>2</sub>O and CO<sub>2</sub>', 'H_2O and CO_2'],
      ['e<sup>x<sup>2</sup>+1</sup>', 'e^(x^2+1)'],
      ['a<sub>i</sub>b, 2<sup>3</sup>4', 'a\\_(i)b, 2^(3)4'],
      ['the 1<sup>st</sup>, Acme<sup>®</sup>', 'the 1st, Acme®'],
      ['so<sup><a href="#n1">[1]</a></sup>', 'so[\\[1\\]](#n1)'],
      ['<code>2<sup>8</sup></code>', '`2^8`'],
    ],
  ],
  [
    'a cell keeps what is in it on one line',
    [
      [
        '<table><tr><th>A<th>B<tr><td><ul><li>x<ul><li>y</ul><li>z</ul><td>b</table>',
        '| A | B |\n| --- | --- |\n| - x<br>  - y<br>- z | b |',
      ],
      [
        '<table><tr><th>A<th>B<tr><td><p>a<p>b<br>c<td><pre>x|y\n`z</pre></table>',
        '| A | B |\n| --- | --- |\n| a<br>b<br>c | ``x\\|y``<br>`` `z `` |',
      ],
      [
        '<table><tr><th>A<th>B<tr><td><h3>h</h3>a<td><table><tr><td>1<td>2<tr><td>3<td>4</table></table>',
        '| A | B |\n| --- | --- |\n| **h**<br>a | 1; 2<br>3; 4 |',
      ],
      [
        '<table><tr><th>A<th><button>Sort</button><tr><td><input type=checkbox checked><td><a href="/x|y">b</a></table>',
        '| A | Sort |\n| --- | --- |\n| ☑ | [b](/x\\|y) |',
      ],
    ],
  ],
  [
    'a table keeps its caption, and its foot comes last',
    [
      [
        '<table><caption>Sums</caption><tfoot><tr><td>3<tbody><tr><td>1<tr><td>2</table>',
        'Sums\n\n| 1 |\n| --- |\n| 2 |\n| 3 |',
      ],
    ],
  ],
  [
    'a span leaves its other slots empty, and each value stands in its column',
    [
      [
        '<table><tr><th>A<th>B<th>C<tr><td rowspan=2>1<td>2<td>3<tr><td>4<td>5<tr><td colspan=2>6<td>7</table>',
        '| A | B | C |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n| | 4 | 5 |\n| 6 | | 7 |',
      ],
      [
        '<table><thead><tr><th rowspan=9>A<th>B<tbody><tr><td rowspan=0>1<td>2<tr><td>3</table>',
        '| A | B |\n| --- | --- |\n| 1 | 2 |\n| | 3 |',
      ],
    ],
  ],
  [
    'tables that only lay a page out become blocks',
    [
      ['<table role=presentation><tr><th>a<td><ul><li>b</ul><tr><td>c<td>d</table>', 'a\n\n- b\n\nc\n\nd'],
      ['<table><tr><td>a<td><table><tr><th>b<tr><td>c</table></table>', 'a\n\n| b |\n| --- |\n| c |'],
    ],
  ],
  [
    'items keep their numbers, tasks and places',
    [
      ['<ol start=0><li>a<li value=7>b<li>c</ol>', '0. a\n7. b\n8. c'],
      ['<ol reversed><li>a<li>b</ol>', '2. a\n1. b'],
      ['<ol start=-1><li>a<li>b</ol>', '- -1. a\n0. b'],
      ['<ul><li>a</ul><ul><li>b</ul>', '- a\n\n* b'],
      ['<ul><li>a</li><ol><li>b</ol></ul>', '- a\n  1. b'],
      ['<ul><li>a<p>b</p><blockquote>c</blockquote></ul>', '- a\n\n  b\n\n  > c'],
      [
        '<ul><li><input type=checkbox checked> a<li><label><input type=CHECKBOX> <b>b</b></label><li><p><input type=checkbox>c</ul>',
        '- [x] a\n- [ ] **b**\n- [ ] c',
      ],
      ['<ul><li><span role=checkbox aria-checked=true>a</span></ul>', '- [x] a'],
      ['<ul><li>a <input type=checkbox> <input value=b></ul>', '- a'],
      ['<dl><dt>a<dd>b<dd>c<div><dt>d<dd>e</div></dl>', '- a\n  - b\n  - c\n- d\n  - e'],
    ],
  ],
  [
    'nothing is written that a browser would not show',
    [
      ['a<b style="display:none">b</b>', 'a'],
      ['a<b style="DISPLAY : NONE !important; display: block">b</b>', 'a'],
      ['a<b style="/**/d\\69splay/**/:none">b</b>', 'a'],
      [`a<b style='background:url("x;y");display:none'>b</b>`, 'a'],
      [`a<b style='content:"display:none";--x:(;display:none)'>b</b>`, 'a**b**'],
      ['a<b style="display:none;display:inline">b</b>', 'a**b**'],
      ['a <i style="visibility:hidden">b<b style="visibility:visible">c</b></i>', 'a _**c**_'],
      ['a<b hidden>b</b><b hidden="until-found">c</b>', 'a**c**'],
      ['a<noscript>b</noscript><template>c</template><iframe>d</iframe><!-- e --><![CDATA[f]]>', 'a'],
      ['a<select><option>b</select><textarea>c</textarea><button>d</button><dialog>e</dialog>', 'a'],
      ['<details><summary>a</summary>b</details><dialog open>c</dialog>', 'a\n\nb\n\nc'],
    ],
  ],
  [
    'a link or picture that would run a script leaves its text',
    [
      '<a href="JavaScript:x()">a</a>',
      '<a href="&#1; java&Tab;scr&NewLine;ipt:x()">a</a>',
      '<a href="&#106;&#x61;vascript&colon;x()">a</a>',
      '<a href="javascript&amp;colon;x()">a</a>',
      '<a href="java&amp;Tab;script%3Ax()">a</a>',
      '<a href="vbscript:x">a</a>',
      '<a href=" data:text/html,x">a</a>',
      '<a href="unknown:x">a</a>',
      'a<img src="jAvAsCrIpT:x" alt=b>',
      'a<img src="data:text/html,x" alt=b>',
    ].map((html) => [html, 'a']),
  ],
  [
    'links are written so that they lead where they led',
    [
      [
        '<a href="/a b(c)?x=1&amp;y=2&amp;copy;" title=\'"q"\'>d</a>',
        '[d](/a%20b\\(c\\)?x=1&y=2&amp;copy; "\\"q\\"")',
      ],
      ['<a href="mailto:a@b.example">c</a>', '[c](mailto:a@b.example)'],
      ['<a href="/x"><h2>a</h2><p>b</p></a>', '## [a](/x)\n\nb'],
      ['<a href="/x"><div>a</div><div>b</div></a>', '[a](/x)\n\nb'],
      ['<a href="/x" aria-label="Home"><svg></svg></a><a href="/y"></a>', '[Home](/x)'],
      ['Wow!<a href="/x">a</a>', 'Wow\\![a](/x)'],
      ['<base href="https://a.example/b/"><a href="c">d</a>', '[d](https://a.example/b/c)'],
      ['<img srcset="a.png 1x, b.png 2x" alt="a]">', '![a\\]](b.png)'],
      ['<img src="data:image/gif;base64,A" data-src="a.png">', '![](a.png)'],
      ['<picture><source srcset="a.webp 9w, b.webp 10w"><img></picture>', '![](b.webp)'],
    ],
  ],
  [
    'marks that would not be read as marks are not written',
    [
      ['foo<em>bar</em> <em> baz </em>', 'foo*bar* _baz_'],
      ['<b>a</b><b>b</b> <b>c <strong>d</strong></b>', '**ab** **c d**'],
      ['a<b>"b"</b>c', 'a<strong>"b"</strong>c'],
      ['<b><p>a</p><p>b</p></b>', '**a**\n\n**b**'],
      ['<del>a</del> <s>b</s> <ins>c</ins> <mark>d</mark> <q>e</q>', '~~a~~ ~~b~~ c _d_ “e”'],
      ['<ruby>漢<rt>kan</rt></ruby>', '漢(kan)'],
    ],
  ],
  [
    'text that looks like a mark is none, and other text is left alone',
    [
      ['snake_case -5 1.5 a~b AT&amp;T 1 &lt; 2', 'snake_case -5 1.5 a~b AT&T 1 < 2'],
      ['&lt;b&gt; &amp;lt; ~a~ _b_ [c] `d`', '\\<b> \\&lt; \\~a\\~ \\_b\\_ \\[c\\] \\`d\\`'],
      ['<span>#</span> a<br>2<!-- -->) b<br>---', '\\# a  \n2\\) b  \n\\---'],
      ['<ul><li>+ a<li>&gt; b</ul><h2>- C #</h2>', '- \\+ a\n- \\> b\n\n## - C \\#'],
    ],
  ],
  [
    'lines and paragraphs that the reader sees apart stay apart',
    [
      ['<p>a<br>b<br> <br>c<br></p>', 'a  \nb\n\nc'],
      ['<span style="display:block">a</span><span style="display:flex">b</span>', 'a\n\nb'],
      ['<h1>a<br>b</h1>', '# a b'],
    ],
  ],
];

for (const [promise, cases] of conversions) {
  void test(promise, () => {
    for (const [html, markdown] of cases) assert.equal(convert(html).markdown, markdown, html);
  });
}

void test('words of neighbouring blocks are counted apart, and those of one word together', () => {
  const counts: [html: string, words: number][] = [
    ['<p>one</p><p>two</p>three<br>four', 4],
    ['<ul><li>one<li>two</ul><table><tr><th>three<th>four<tr><td>five<td>six</table>', 6],
    ['<p>o<b>n</b>e t<wbr>wo</p><dl><dt>three<dd>four</dl>', 4],
    ['<ul><li><input type=checkbox checked>one</ul><p hidden>two</p><pre>three\nfour</pre>', 3],
  ];
  for (const [html, words] of counts) assert.equal(convert(html).words, words, html);
});

void test('the main article is written by the same rules as the whole page', () => {
  const filler = `<p>${'A sentence, with a comma, that makes this an article. '.repeat(12)}</p>`;
  const { markdown } = htmlToMarkdown({
    source: `<article>${filler}<ul><li><input type=checkbox checked> done<li>10<sup>23</sup></ul><pre>a\n\n\n\nb</pre>
      <p>c<span style="display:none">d</span> <a href="javascript:x">e</a></p>
      <table><tr><th>A<th>B<tr><td rowspan=2>1<td>2<tr><td><ul><li>3</ul></table></article>`,
    baseUrl: undefined,
    mainContentOnly: true,
  });
  const parts = [
    '- [x] done\n- 10^23',
    '```\na\n\n\n\nb\n```',
    '\n\nc e\n\n',
    '| A | B |\n| --- | --- |\n| 1 | 2 |\n| | - 3 |',
  ];
  for (const part of parts) assert.ok(markdown.includes(part), markdown);
});

void test('the value of every cell is found in its row and column, whatever spans are around it', () => {
  const span = fc.integer({ min: 1, max: 4 });
  const cell = fc.record({ columns: span, rows: span, isList: fc.boolean() });
  const table = fc.array(fc.array(cell, { minLength: 1, maxLength: 5 }), { minLength: 2, maxLength: 8 });
  fc.assert(
    fc.property(table, (rows) => {
      const taken = new Set<string>();
      const places: [value: string, row: number, column: number][] = [];
      const html = rows.map((cells, row) => {
        let column = 0;
        const written = cells.map(({ columns, rows: height, isList }, index) => {
          while (taken.has(`${row} ${column}`)) column += 1;
          const value = `r${row}c${index}`;
          places.push([isList ? `- ${value}<br>- x` : value, row, column]);
          for (let down = 0; down < height; down += 1) {
            for (let right = 0; right < columns; right += 1) taken.add(`${row + down} ${column + right}`);
          }
          column += columns;
          const content = isList ? `<ul><li>${value}<li>x</ul>` : value;
          return `<td colspan=${columns} rowspan=${height}>${content}</td>`;
        });
        return `<tr>${written.join('')}</tr>`;
      });
      const lines = convert(`<table><thead></thead>${html.join('')}</table>`).markdown.split('\n');
      lines.splice(1, 1);
      const grid = lines.map((line) =>
        line
          .split('|')
          .slice(1, -1)
          .map((text) => text.trim()),
      );

      for (const [value, row, column] of places) assert.equal(grid[row]?.[column], value);
      assert.equal(new Set(grid.map(({ length }) => length)).size, 1);
      assert.equal(grid.flat().filter((text) => text !== '').length, places.length);
    }),
    { numRuns: 300 },
  );
});

void test('no text is changed by its marks: what is written reads as it was', () => {
  const piece = fc.oneof(
    fc.constantFrom(...'*_`~[]<>&#+-=.!|\\()^ 1aé漢"'.split('')),
    fc.constantFrom('1.', '2)', '&lt;', '<b>', '---', '~~', '![', 'snake_case', '\u00a0'),
  );
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 12 }), (pieces) => {
      const text = `${pieces.join('').replace(/\s+/g, ' ').trim()}x`;
      const html = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
      const { markdown } = convert(`<p>${html}</p>`);
      assert.equal(markdown.replace(/\\([!-/:-@[-`{-~])/g, '$1'), text);
      // Outside of words, each character that opens a mark has its backslash.
      assert.doesNotMatch(
        markdown.replace(/\\\\/g, '§'),
        /(?<!\\)[*`[\]]|(?<!\\)<[a-z!/]|^(?:[-+>]|#+|\d+[.)]) /i,
      );
    }),
    { numRuns: 1_000 },
  );
});

void test('no word is lost, doubled or glued by elements within a line', () => {
  const tags = ['b', 'em', 'i', 'del', 'span', 'u', 'small', 'mark', 'font', 'x-y', 'cite', 'strong'];
  const { inline } = fc.letrec<{ inline: string }>((tie) => ({
    inline: fc.oneof(
      { maxDepth: 5 },
      fc.constant('W'),
      fc
        .tuple(tie('inline'), fc.constantFrom('', ' ', '<wbr>', ', '), tie('inline'))
        .map((parts) => parts.join('')),
      fc
        .tuple(fc.constantFrom(...tags), tie('inline'))
        .map(([tag, content]) => `<${tag}>${content}</${tag}>`),
      tie('inline').map((content) => `<a href="/">${content}</a>`),
    ),
  }));
  const letters = (text: string) => text.replace(/<[^>]*>|[^a-z, ]/g, '').trim();
  fc.assert(
    fc.property(inline, (template) => {
      let count = 0;
      const html = template.replaceAll('W', () => `w${'abcdefghijklmnopqrstuvwxyz'[(count += 1) % 26]}`);
      const { markdown } = convert(`<p>${html}</p>`);
      assert.equal(letters(markdown.replaceAll('](/)', ']')), letters(html.replace(/<\/?[^>]*>/g, '')));
    }),
    { numRuns: 500 },
  );
});

void test('what would take too much room or time is refused in words', () => {
  const refused: [html: string, message: RegExp][] = [
    [`<table><tr>${'<td colspan=1000>1'.repeat(1_100)}<tr><td>a</table>`, /spans more than 1 million cells/],
    [
      `<table><tr><td>a<td colspan=1000>b<td>c${'<tr><td>a'.repeat(1_000)}</table>`,
      /spans more than 1 million/,
    ],
    ['<frameset><frame src="a"></frameset>', /consists of frames/],
  ];
  for (const [html, message] of refused) {
    assert.throws(
      () => convert(html),
      (error) => error instanceof Refusal && error.status === 422 && message.test(error.message),
    );
  }
  assert.equal(convert(`<table>${'<tr><td colspan=1000>a'.repeat(2_000)}</table>`).words, 2_000);
  const deep = [
    `${'<ul><li>'.repeat(300)}a`,
    `${'<table><tr><th>h<tr><td>'.repeat(100)}a`,
    `${'<b><i><q>'.repeat(250)}a`,
    `${'<blockquote>'.repeat(400)}a`,
  ];
  for (const html of deep) assert.match(convert(html).markdown, /a/);
});

void test('long runs of one character take no longer than their length', () => {
  const runs = ['~a', '_a b_ ', '!', '`', '<br>', '&nbsp;', '[', '\\', '<wbr>a', '<sup>2</sup>x'];
  const slow = runs.map((run) => `<p>${run.repeat(10_000)}x</p>`);
  slow.push(`<p style="display:${' '.repeat(50_000)}x">a</p>`, `<ol>${'<li>a'.repeat(10_000)}</ol>`);
  for (const html of slow) {
    const { user: before } = process.cpuUsage();
    convert(html);
    assert.ok(process.cpuUsage().user - before < 3_000_000, html.slice(0, 20));
  }
});
