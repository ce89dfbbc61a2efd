import PdfKit from 'pdfkit';

/** A PDF drawn word by word and line by line, so that a test decides where and in which order everything stands. */
export type Typesetter = {
  /** `x` and `y` are the left end of the baseline, in points from the upper left corner of the page. */
  draw(text: string, x: number, y: number, style?: Style): void;
  /** The lines a text needs in a column, broken as late as possible. */
  wrap(text: string, width: number, style?: Style): string[];
  widthOf(text: string, style?: Style): number;
  turn(degrees: number, draw: () => void): void;
  addPage(): void;
  /** A picture as large as the page. */
  drawScan(): void;
  document: PDFKit.PDFDocument;
  toBytes(): Promise<Uint8Array<ArrayBuffer>>;
};

export type Style = { font?: string; size?: number; wordSpacing?: number };

export function createTypesetter(options: PDFKit.PDFDocumentOptions = {}): Typesetter {
  const document = new PdfKit({ size: 'A4', margin: 0, ...options });
  const chunks: Buffer[] = [];
  document.on('data', (chunk: Buffer) => chunks.push(chunk));
  const ended = new Promise((resolve) => document.on('end', resolve));
  const use = ({ font = 'Helvetica', size = 10 }: Style = {}) => document.font(font).fontSize(size);
  return {
    draw(text, x, y, style) {
      use(style).text(text, x, y, {
        lineBreak: false,
        baseline: 'alphabetic',
        wordSpacing: style?.wordSpacing ?? 0,
      });
    },
    wrap(text, width, style) {
      use(style);
      const lines: string[] = [];
      let line = '';
      for (const word of text.split(' ')) {
        const longer = line === '' ? word : `${line} ${word}`;
        if (line !== '' && document.widthOfString(longer) > width) {
          lines.push(line);
          line = word;
        } else {
          line = longer;
        }
      }
      return [...lines, line];
    },
    widthOf: (text, style) => use(style).widthOfString(text),
    turn(degrees, draw) {
      document.save().rotate(degrees, { origin: [0, 0] });
      draw();
      document.restore();
    },
    addPage: () => void document.addPage(),
    drawScan: () => void document.image(GREY_PIXEL, 0, 0, { width: 595, height: 842 }),
    document,
    async toBytes() {
      document.end();
      await ended;
      return new Uint8Array(Buffer.concat(chunks));
    },
  };
}

const GREY_PIXEL = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==',
  'base64',
);
