import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { readPdfText } from '../../src/demo/pdf-text.ts';
import { summarise } from '../../src/demo/summarise.ts';
import { compositeFont, HELVETICA, rawPdf } from './raw-pdf.ts';
import { createTypesetter, type Style, type Typesetter } from './typesetter.ts';

const LEFT = 60;
const RIGHT = 310;
const COLUMN = 225;
const FULL = 475;
const LEADING = 13;

const ESCROW =
  'An escrow keeps the money of the buyer until the goods have arrived. The seller sees that it is there, and ships ' +
  'them without delay. Neither of the two has to trust the other in advance.';
const COURTS =
  'Courts have long accepted this arrangement as binding on both sides. A judge asks only whether the condition was ' +
  'met and who must prove it. Most disputes are settled before anyone asks.';
const BANKS =
  'Banks charge a small fee for keeping an account of that kind. They report every change of its balance to both ' +
  'parties at once. Larger sums earn interest in the meantime.';

async function bulletsOf(pdf: Uint8Array, maxBullets = 50): Promise<string[]> {
  const text = await readPdfText(pdf);
  return summarise(text.paragraphs, text.title ?? '', maxBullets).map((bullet) => bullet.text);
}

const sentencesOf = (...texts: string[]) => texts.flatMap((text) => text.split(/(?<=\.) (?=\p{Lu})/u));

/** Draws a text and returns the height below it. */
function set(sheet: Typesetter, text: string, x: number, y: number, width: number, style?: Style): number {
  const lines = sheet.wrap(text, width, style);
  lines.forEach((line, index) => sheet.draw(line, x, y + index * LEADING, style));
  return y + lines.length * LEADING;
}

/** As word processors print a table without borders: row by row across all columns. */
function setRowByRow(
  sheet: Typesetter,
  columns: { text: string; x: number; width: number }[],
  y: number,
): number {
  const wrapped = columns.map(({ text, x, width }) => ({ x, lines: sheet.wrap(text, width) }));
  const rows = Math.max(...wrapped.map(({ lines }) => lines.length));
  for (let row = 0; row < rows; row += 1) {
    for (const { x, lines } of wrapped) if (lines[row]) sheet.draw(lines[row]!, x, y + row * LEADING);
  }
  return y + rows * LEADING;
}

void test('two columns that were drawn row by row are read column by column', async () => {
  const sheet = createTypesetter();
  setRowByRow(
    sheet,
    [
      { text: ESCROW, x: LEFT, width: COLUMN },
      { text: COURTS, x: RIGHT, width: COLUMN },
    ],
    100,
  );

  assert.deepEqual(await bulletsOf(await sheet.toBytes()), sentencesOf(ESCROW, COURTS));
});

void test('three columns with a heading over two of them are read in order', async () => {
  const sheet = createTypesetter();
  const width = 145;
  sheet.draw('How money waits for goods to arrive', 60, 90, { size: 18 });
  setRowByRow(
    sheet,
    [
      { text: ESCROW, x: 60, width },
      { text: COURTS, x: 225, width },
    ],
    120,
  );
  set(sheet, BANKS, 390, 90, width);

  assert.deepEqual(await bulletsOf(await sheet.toBytes()), sentencesOf(ESCROW, COURTS, BANKS));
});

void test('full-width text above, between and below columns is read where it stands', async () => {
  const sheet = createTypesetter();
  const [above, between, below] = ['Above', 'Between', 'Below'].map(
    (where) =>
      `${where} the columns there stands a sentence that runs over the whole width of the page, and further still.`,
  ) as [string, string, string];
  let y = set(sheet, above, LEFT, 80, FULL) + LEADING;
  y =
    setRowByRow(
      sheet,
      [
        { text: ESCROW, x: LEFT, width: COLUMN },
        { text: COURTS, x: RIGHT, width: COLUMN },
      ],
      y,
    ) + LEADING;
  y = set(sheet, between, LEFT, y, FULL) + LEADING;
  const later = (text: string) => text.replaceAll('.', ', as before.');
  y = setRowByRow(
    sheet,
    [
      { text: later(ESCROW), x: LEFT, width: COLUMN },
      { text: later(COURTS), x: RIGHT, width: COLUMN },
    ],
    y,
  );
  set(sheet, below, LEFT, y + LEADING, FULL);

  const expected = [
    above,
    ...sentencesOf(ESCROW, COURTS),
    between,
    ...sentencesOf(later(ESCROW), later(COURTS)),
    below,
  ];
  assert.deepEqual(await bulletsOf(await sheet.toBytes()), expected);
});

void test(
  'columns come in the order in which pdftotext reads them',
  { skip: !hasPdftotext() && 'pdftotext is not installed' },
  async () => {
    const sheet = createTypesetter();
    sheet.draw('How money waits', 200, 70, { size: 18 });
    setRowByRow(
      sheet,
      [
        { text: ESCROW, x: LEFT, width: COLUMN },
        { text: COURTS, x: RIGHT, width: COLUMN },
      ],
      100,
    );
    set(sheet, BANKS, LEFT, 300, FULL);
    const pdf = await sheet.toBytes();
    const { stdout } = spawnSync('pdftotext', ['-', '-'], { input: pdf, encoding: 'utf8' });
    const { paragraphs } = await readPdfText(pdf);

    const words = (text: string) =>
      text
        .split(/\s+/)
        .filter((word) => word !== '')
        .join(' ');
    assert.equal(words(`How money waits ${paragraphs.map(({ text }) => text).join(' ')}`), words(stdout));
  },
);

function hasPdftotext(): boolean {
  return spawnSync('pdftotext', ['-v']).status === 0;
}

for (const [name, mark] of [
  ['a small bullet', { text: '•', font: 'Helvetica', size: 5 }],
  ['a bullet of a symbol font', { text: '\u00b7', font: 'Symbol', size: 6 }],
  ['a letter of a dingbats font', { text: 'l', font: 'ZapfDingbats', size: 4 }],
  ['a small hollow o', { text: 'o', font: 'Courier', size: 6 }],
] as const) {
  void test(`the lines of a list are kept behind ${name}`, async () => {
    const sheet = createTypesetter();
    set(sheet, ESCROW, LEFT, 80, FULL);
    const items = [
      'Pay the price into the escrow account',
      'Deliver the goods at the agreed harbour',
      'Confirm that they have arrived unharmed',
    ];
    items.forEach((item, index) => {
      sheet.draw(mark.text, LEFT, 140 + index * LEADING, { font: mark.font, size: mark.size });
      sheet.draw(item, LEFT + 15, 140 + index * LEADING);
    });

    assert.deepEqual(await bulletsOf(await sheet.toBytes()), [...sentencesOf(ESCROW), ...items]);
  });
}

void test('a word divided at the end of a line is whole again, and a hyphen of its own stays', async () => {
  const sheet = createTypesetter();
  const lines = [
    'The arrange-',
    'ment is well-',
    'known in Anglo-',
    'American law and under-',
    'stood by long-',
    'term partners of COVID-',
    '19 times and/',
    'or before.',
  ];
  lines.forEach((line, index) => sheet.draw(line, LEFT, 100 + index * LEADING));

  assert.deepEqual(await bulletsOf(await sheet.toBytes()), [
    'The arrangement is well-known in Anglo-American law and understood by long-term partners of COVID-19 times and/or before.',
  ]);
});

void test('a drop cap belongs to the word that it begins', async () => {
  const sheet = createTypesetter();
  sheet.draw('A', LEFT, 124, { font: 'Times-Bold', size: 36 });
  const lines = sheet.wrap(ESCROW.slice(1), 400);
  lines.forEach((line, index) => sheet.draw(line, index < 2 ? 90 : LEFT, 100 + index * LEADING));

  assert.deepEqual(await bulletsOf(await sheet.toBytes()), sentencesOf(ESCROW));
});

void test('marks of notes are left out, exponents and ordinals are kept', async () => {
  const sheet = createTypesetter();
  let x = LEFT;
  const draw = (text: string, isRaised = false) => {
    const style = { size: isRaised ? 6 : 10 };
    sheet.draw(text, x, isRaised ? 96 : 100, style);
    x += sheet.widthOf(text, style);
  };
  draw('The hall covers 25 m');
  draw('2', true);
  draw(' and holds 10');
  draw('6', true);
  draw(' grains since the 1');
  draw('st', true);
  draw(' of May.');
  draw('3', true);
  draw(' Every owner');
  draw('4', true);
  draw(' may inspect the hall.');
  set(sheet, ESCROW, LEFT, 130, FULL);

  assert.deepEqual((await bulletsOf(await sheet.toBytes())).slice(0, 2), [
    'The hall covers 25 m² and holds 10⁶ grains since the 1st of May.',
    'Every owner may inspect the hall.',
  ]);
});

void test('a sentence goes on behind footnotes, headers, page numbers and a figure', async () => {
  const sheet = createTypesetter();
  for (const page of [1, 2, 3]) {
    if (page > 1) sheet.addPage();
    sheet.draw('Journal of Escrow Studies', 220, 30, { size: 8 });
    sheet.draw(`– ${page} –`, 290, 820);
    const first =
      page === 1
        ? ESCROW
        : `page ${page} of this very document, where it ends as it should. ${page === 2 ? COURTS : BANKS}`;
    const y = set(sheet, first, LEFT, 80, FULL);
    if (page < 3)
      sheet.draw(
        `Whoever reads the sentence that begins at the end of one page finds its other half on`,
        LEFT,
        y,
      );
    if (page === 1)
      set(sheet, '1 A note in type that is hardly smaller than the text itself.', LEFT, 780, FULL, {
        size: 9.5,
      });
    if (page === 2)
      sheet.draw('Figure 1: How money moves from one account to the other.', 150, 700, { size: 10 });
  }

  const carried = [2, 3].map(
    (page) =>
      `Whoever reads the sentence that begins at the end of one page finds its other half on page ${page} of this very document, where it ends as it should.`,
  );
  assert.deepEqual(await bulletsOf(await sheet.toBytes()), [
    ...sentencesOf(ESCROW),
    carried[0],
    ...sentencesOf(COURTS),
    carried[1],
    ...sentencesOf(BANKS),
  ]);
});

void test('text that starts within a sentence gives no bullet that starts there', async () => {
  const sheet = createTypesetter();
  set(sheet, `and therefore nothing was left of the former arrangement. ${ESCROW}`, LEFT, 100, FULL);

  assert.deepEqual(await bulletsOf(await sheet.toBytes()), sentencesOf(ESCROW));
});

void test('a heading in bold of the same size runs into no sentence', async () => {
  const sheet = createTypesetter();
  sheet.draw('Payment of the Price', LEFT, 100, { font: 'Helvetica-Bold' });
  const y = set(sheet, ESCROW, LEFT, 100 + LEADING, FULL);
  sheet.draw('Role of the Courts', LEFT, y);
  set(sheet, COURTS, LEFT, y + LEADING, FULL);

  assert.deepEqual(await bulletsOf(await sheet.toBytes()), sentencesOf(ESCROW, COURTS));
});

void test('the cells of a table run into no sentence', async () => {
  const sheet = createTypesetter();
  let y = set(sheet, ESCROW, LEFT, 80, FULL) + LEADING;
  for (const [item, price, state] of [
    ['Copper wire', '1,200', 'paid'],
    ['Anchor chains', '3,400', 'held'],
    ['Sail cloth', '560', 'returned'],
    ['Ship bells', '80', 'held'],
  ] as const) {
    sheet.draw(item, LEFT, y);
    sheet.draw(price, 200, y);
    sheet.draw(state, 300, y);
    y += LEADING;
  }
  set(sheet, COURTS, LEFT, y, FULL);

  assert.deepEqual(await bulletsOf(await sheet.toBytes()), sentencesOf(ESCROW, COURTS));
});

void test('words that are placed one by one, without a space between them, are told apart', async () => {
  const sheet = createTypesetter();
  sheet.wrap(ESCROW, FULL).forEach((line, row) => {
    let x = LEFT;
    for (const word of line.split(' ')) {
      sheet.draw(word, x, 100 + row * LEADING);
      x += sheet.widthOf(`${word} `);
    }
  });

  assert.deepEqual(await bulletsOf(await sheet.toBytes()), sentencesOf(ESCROW));
});

void test('a watermark and a stamp up the margin run into no sentence', async () => {
  const sheet = createTypesetter();
  set(sheet, ESCROW, LEFT, 100, FULL);
  sheet.document.save().rotate(-45, { origin: [100, 200] });
  sheet.draw('DRAFT OF THE HARBOUR MASTER', 100, 130, { size: 30 });
  sheet.document.restore();
  sheet.document.save().rotate(-90, { origin: [20, 300] });
  sheet.draw('archive:2611.00042v1 of 1 December', 20, 300, { size: 20 });
  sheet.document.restore();

  assert.deepEqual(await bulletsOf(await sheet.toBytes()), sentencesOf(ESCROW));
});

const hex = (codes: Buffer) => codes.toString('hex');
const utf16 = (text: string) => hex(Buffer.from(text, 'utf16le').swap16());
const CHINESE = [
  '买方付款之后卖方应当在三十天之内交付全部货物。',
  '托管账户中的资金在货物到达之前不得支付给卖方。',
];
const JAPANESE = ['これは売主と買主の間の契約についての説明である。'];

for (const [name, font, codes, expected] of [
  ['UniGB-UCS2-H', compositeFont('STSong-Light', 'UniGB-UCS2-H', 'GB1'), CHINESE.map(utf16), CHINESE],
  ['UniJIS-UCS2-H', compositeFont('Ryumin-Light', 'UniJIS-UCS2-H', 'Japan1'), JAPANESE.map(utf16), JAPANESE],
  [
    '90ms-RKSJ-H',
    compositeFont('Ryumin-Light', '90ms-RKSJ-H', 'Japan1'),
    ['82b182ea82cd94848ee582c694838ee582cc8ad482cc8c5f96f182c982c282a282c482cc90e096be82c582a082e98142'],
    ['これは売主と買主の間の契約についての説明である。'],
  ],
] as const) {
  void test(`text in a font with the predefined character map ${name} is read`, async () => {
    const lines = codes.map((code, index) => `1 0 0 1 72 ${700 - index * 18} Tm <${code}> Tj`);

    assert.deepEqual(
      await bulletsOf(rawPdf(`BT /F1 12 Tf ${lines.join(' ')} ET`, { fonts: font })),
      expected,
    );
  });
}

void test('a Chinese sentence that is broken between two lines is joined without a space', async () => {
  const [first, second] = [CHINESE[0]!.slice(0, 12), CHINESE[0]!.slice(12)];
  const content = `BT /F1 12 Tf 72 700 Td <${utf16(first)}> Tj 0 -18 Td <${utf16(second)}> Tj ET`;

  assert.deepEqual(
    await bulletsOf(rawPdf(content, { fonts: compositeFont('STSong-Light', 'UniGB-UCS2-H', 'GB1') })),
    [CHINESE[0]],
  );
});

void test('a Chinese text that runs down the page is read from right to left', async () => {
  const content = `BT /F1 12 Tf 1 0 0 1 400 700 Tm <${utf16(CHINESE[0]!)}> Tj 1 0 0 1 380 700 Tm <${utf16(CHINESE[1]!)}> Tj ET`;

  assert.deepEqual(
    await bulletsOf(rawPdf(content, { fonts: compositeFont('STSong-Light', 'UniGB-UCS2-V', 'GB1') })),
    CHINESE,
  );
});

void test('a short form is summarised by its lines, with what was filled into its fields', async () => {
  const sheet = createTypesetter();
  sheet.document.font('Helvetica').initForm();
  sheet.draw('Name:', LEFT, 100);
  sheet.document.formText('name', 120, 90, 200, 14, { value: 'Ann Example' });
  sheet.draw('Berth: 17 North', LEFT, 130);

  assert.deepEqual(await bulletsOf(await sheet.toBytes()), ['Name: Ann Example', 'Berth: 17 North']);
});

void test('a scan is refused though a stamp stands on it; a form with a logo is not', async () => {
  const scan = createTypesetter();
  scan.drawScan();
  scan.draw('Scanned by CamScanner', LEFT, 820, { size: 8 });
  const form = createTypesetter();
  form.document.image(Buffer.from(LOGO, 'base64'), 60, 40, { width: 80 });
  form.draw('Paid in full, 3 May', LEFT, 200);

  await assert.rejects(readPdfText(await scan.toBytes()), /probably scanned and needs OCR/);
  assert.deepEqual(await bulletsOf(await form.toBytes()), ['Paid in full, 3 May']);
});

const LOGO = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==';

void test('a file without bytes, and one whose end is missing, is refused with what to do', async () => {
  const sheet = createTypesetter();
  set(sheet, ESCROW, LEFT, 100, FULL);
  const whole = await sheet.toBytes();

  await assert.rejects(readPdfText(new Uint8Array()), { status: 422, message: /empty/ });
  for (const share of [0.5, 0.9, 0.99]) {
    await assert.rejects(readPdfText(whole.slice(0, Math.floor(whole.length * share))), {
      status: 422,
      message: /damaged/,
    });
  }
});

void test('a PDF that everyone may open is read though it is encrypted', async () => {
  const sheet = createTypesetter({ ownerPassword: 'harbour', pdfVersion: '1.7' });
  set(sheet, ESCROW, LEFT, 100, FULL);

  assert.deepEqual(await bulletsOf(await sheet.toBytes()), sentencesOf(ESCROW));
});

const titles: [stated: string, title: string | undefined][] = [
  ['(How Escrow Works)', 'How Escrow Works'],
  ['<FEFF0048006f0077002000450073006300720006f0077>', undefined],
  [`<FEFF${utf16('Wie Treuhand wirkt – ein Überblick')}>`, 'Wie Treuhand wirkt – ein Überblick'],
  [`<FEFF${utf16('托管合同')}>`, '托管合同'],
  ['<FEFF>', undefined],
  ['(\\376\\377\\000H\\000o\\000w)', 'How'],
  ['(\\\\376\\\\377\\\\000H\\\\000o\\\\000w)', undefined],
  ['(Microsoft Word - contract_final.doc)', undefined],
  ['(Microsoft PowerPoint - Review)', undefined],
  ['(untitled)', undefined],
  ['(Untitled-1)', undefined],
  ['(Document1)', undefined],
  ['(PowerPoint Presentation)', undefined],
  ['(contract_final_v3)', undefined],
  ['(contract.final.docx)', undefined],
  ['(C:\\\\Users\\\\ann\\\\contract)', undefined],
  ['(file:///home/ann/contract)', undefined],
  ['(10.1016/j.cell.2020.01.001 1..12)', undefined],
  ['(Ã\u009cberblick Ã¼ber Treuhand)', undefined],
  ['(Seller\u00e2\u0080\u0099s duties)', undefined],
  ['(þÿH o w)', undefined],
  ['(?????? ????)', undefined],
  ['(12345)', undefined],
  ['()', undefined],
  ['(GPT-4)', 'GPT-4'],
  ['(Documents of the Court)', 'Documents of the Court'],
  ['(Title Deeds in Lagos)', 'Title Deeds in Lagos'],
];

for (const [stated, expected] of titles) {
  void test(`the stated title ${stated} ${expected === undefined ? 'gives way to the largest line' : 'is used'}`, async () => {
    const content =
      'BT /F1 20 Tf 72 740 Td (The Largest Line) Tj /F1 10 Tf 0 -30 Td (A sentence that stands below the title of it all.) Tj 0 -13 Td (Another sentence follows it on the same page.) Tj ET';
    const { title } = await readPdfText(rawPdf(content, { fonts: HELVETICA, info: `/Title ${stated}` }));

    assert.equal(title, expected ?? 'The Largest Line');
  });
}
