import { Readable } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import { createColumn, type ColumnProfile } from './csv-column.ts';
import { detectDelimiter } from './csv-delimiter.ts';
import { readCsvText, type CsvSource } from './csv-text.ts';
import { Refusal } from './refusal.ts';

export type CsvJob = { source: CsvSource; delimiter: string | undefined };

/** What the CSV profiler sells. */
export type CsvProfile = {
  rows: number;
  delimiter: string;
  columns: ColumnProfile[];
  warnings: string[];
};

const MAX_COLUMNS = 500;
const MAX_RECORD_BYTES = 1_000_000;
const SLICE = 65_536;

/** Profiles every column; the text passes through in slices, and what is kept of it is bounded. */
export async function profileCsv({ source, delimiter: given }: CsvJob): Promise<CsvProfile> {
  const { text, delimiter: named, warnings } = readCsvText(source);
  const delimiter = given ?? named ?? detectDelimiter(text.slice(0, SLICE));
  const parser = parse({
    delimiter,
    // A blank after the delimiter does not make the quotes behind it part of the cell.
    ltrim: delimiter.trim() !== '',
    skip_empty_lines: true,
    relax_quotes: true,
    relax_column_count: true,
    max_record_size: MAX_RECORD_BYTES,
  });
  const slices = Readable.from(sliced(text));
  slices.pipe(parser);
  try {
    return await profileRecords(parser as AsyncIterable<string[]>, delimiter, warnings);
  } catch (error) {
    throw error instanceof CsvError ? new Refusal(422, explain(error), { cause: error }) : error;
  } finally {
    slices.destroy();
    parser.destroy();
  }
}

async function profileRecords(
  records: AsyncIterable<string[]>,
  delimiter: string,
  warnings: string[],
): Promise<CsvProfile> {
  let columns: ReturnType<typeof createColumn>[] | undefined;
  const short = countRows();
  const long = countRows();
  let rows = 0;
  for await (const record of records) {
    if (!columns) {
      columns = nameColumns(record, warnings).map(createColumn);
      continue;
    }
    rows += 1;
    if (record.length < columns.length) short.add(rows);
    if (record.length > columns.length) long.add(rows);
    columns.forEach((column, index) => column.add(record[index] ?? '', rows));
  }
  if (!columns) throw new Refusal(422, 'The CSV is empty.');
  if (rows === 0) warnings.push('There is a header but no row of data.');
  const width = `${columns.length} column${columns.length === 1 ? '' : 's'} of the header`;
  if (short.count > 0) {
    warnings.push(`${short.describe()} fewer cells than the ${width}; the missing cells count as nulls.`);
  }
  if (long.count > 0)
    warnings.push(`${long.describe()} more cells than the ${width}; the extra cells are ignored.`);
  const profiles = columns.map((column) => column.profile());
  return {
    rows,
    delimiter,
    columns: profiles.map(({ profile }) => profile),
    warnings: [...warnings, ...profiles.flatMap(({ warning }) => warning ?? [])],
  };
}

/** Columns without a name are numbered, and a name that comes again gets a number too. */
function nameColumns(header: string[], warnings: string[]): string[] {
  if (header.length > MAX_COLUMNS) {
    throw new Refusal(422, `The CSV has ${header.length} columns; at most ${MAX_COLUMNS} can be profiled.`);
  }
  if (header.some((cell) => cell.includes('\0'))) throw new Refusal(422, 'The document is binary, not CSV.');
  if (header.every((cell) => /^[\s\d.,+-]+$/.test(cell))) {
    warnings.push('The first row looks like data; it was taken for the header.');
  }
  const taken = new Set(header.map((cell) => cell.trim()));
  const seen = new Set<string>();
  return header.map((cell, index) => {
    let name = cell.trim();
    if (name === '') {
      name = `column_${index + 1}`;
      warnings.push(
        `Column ${index + 1} has no name in the header; it is called ${JSON.stringify(name)} here.`,
      );
    } else if (seen.has(name)) {
      let number = 2;
      while (taken.has(`${name}_${number}`)) number += 1;
      const unique = `${name}_${number}`;
      warnings.push(
        `The header names ${JSON.stringify(name)} more than once; column ${index + 1} is called ${JSON.stringify(unique)} here.`,
      );
      name = unique;
    }
    seen.add(name);
    taken.add(name);
    return name;
  });
}

function countRows() {
  const first: number[] = [];
  let count = 0;
  return {
    get count() {
      return count;
    },
    add(row: number) {
      count += 1;
      if (first.length < 5) first.push(row);
    },
    describe: () =>
      count === 1
        ? `1 row (row ${first[0]}) has`
        : `${count} rows (row ${first.join(', ')}${count > first.length ? ', …' : ''}) have`,
  };
}

function* sliced(text: string): Generator<string> {
  for (let start = 0; start < text.length; start += SLICE) yield text.slice(start, start + SLICE);
}

function explain(error: CsvError): string {
  const line = typeof error['lines'] === 'number' ? ` near line ${error['lines']}` : '';
  if (error.code === 'CSV_QUOTE_NOT_CLOSED') return `The CSV opens a quote that is never closed${line}.`;
  if (error.code === 'CSV_MAX_RECORD_SIZE') {
    return `The CSV has a row of more than ${MAX_RECORD_BYTES / 1_000_000} MB${line}; a quote may never be closed.`;
  }
  return `The CSV cannot be parsed${line}.`;
}
