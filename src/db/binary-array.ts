/*
 * Arrays in PostgreSQL's own binary form, for parameters of an array type: it reads an id, an amount or a time
 * so for a tenth of what its text costs, and no text needs quotes. The driver sends a `Buffer` as binary.
 *
 * The form is that of `array_send` in PostgreSQL's src/backend/utils/adt/arrayfuncs.c, in network order: the
 * number of dimensions, whether there may be nulls, the type of the elements, then the array's length and first
 * index; then each element after its length in bytes, which is -1 for a null.
 */

// From pg_type.dat: the same in every PostgreSQL.
const TYPES = { boolean: 16, bigint: 20, int: 23, text: 25, timestamptz: 1184, uuid: 2950 };
const HEADER_BYTES = 20;
const LENGTH_BYTES = 4;
const NULL_LENGTH = -1;

/**
 * Writes one column of many rows. Made once, where its module is loaded: functions that are made anew for every
 * batch lose their compiled code with each full collection, and fifty of them kept the compiler busy for good.
 */
export type ArrayOf<Row> = (rows: readonly Row[]) => Buffer;

type Column<Row, Value> = (row: Row) => Value | null;

/** One array for each column. */
export function arraysOf<Row>(columns: readonly ArrayOf<Row>[], rows: readonly Row[]): Buffer[] {
  const arrays: Buffer[] = [];
  for (const arrayOf of columns) arrays.push(arrayOf(rows));
  return arrays;
}

/** What the type cannot hold, refused as PostgreSQL refuses its text: `data_exception`, before anything is sent. */
export class DataException extends Error {
  override readonly name = 'DataException';
  readonly code = '22000';
}

function mustFit(fits: boolean, value: unknown, type: keyof typeof TYPES): void {
  if (!fits) throw new DataException(`${String(value)} is no ${type}`);
}

/** Uuids as 32 hex digits. */
export function uuidArray<Row>(column: Column<Row, string>): ArrayOf<Row> {
  return (rows) => {
    // All of it as hex and turned into bytes once: that is half the work of doing so for each.
    let hex = header(TYPES.uuid, rows.length).map(asHex).join('');
    for (const row of rows) {
      const uuid = column(row);
      hex += uuid === null ? 'ffffffff' : `00000010${uuid}`;
      mustFit(uuid === null || uuid.length === 32, uuid, 'uuid');
    }
    const buffer = Buffer.from(hex, 'hex');
    // It ends at the first character that is no digit.
    mustFit(buffer.length * 2 === hex.length, hex, 'uuid');
    return buffer;
  };
}

export function textArray<Row>(column: Column<Row, string>): ArrayOf<Row> {
  return (rows) => {
    // A string of one character a byte, which is written at once and in no time.
    let bytes = header(TYPES.text, rows.length).map(asBytes).join('');
    for (const row of rows) {
      const text = column(row);
      if (text === null) {
        bytes += asBytes(NULL_LENGTH);
        continue;
      }
      const length = Buffer.byteLength(text);
      bytes += asBytes(length) + (length === text.length ? text : Buffer.from(text).toString('latin1'));
    }
    return Buffer.from(bytes, 'latin1');
  };
}

export function bigintArray<Row>(column: Column<Row, bigint>): ArrayOf<Row> {
  return (rows) => fixedArray(rows, column, TYPES.bigint, 8, writeBigint);
}

function writeBigint(view: DataView, value: bigint, at: number): void {
  mustFit(BigInt.asIntN(64, value) === value, value, 'bigint');
  view.setBigInt64(at, value);
}

export function intArray<Row>(column: Column<Row, number>): ArrayOf<Row> {
  return (rows) => fixedArray(rows, column, TYPES.int, 4, writeInt);
}

function writeInt(view: DataView, value: number, at: number): void {
  mustFit((value | 0) === value, value, 'int');
  view.setInt32(at, value);
}

export function booleanArray<Row>(column: Column<Row, boolean>): ArrayOf<Row> {
  return (rows) => fixedArray(rows, column, TYPES.boolean, 1, writeBoolean);
}

function writeBoolean(view: DataView, value: boolean, at: number): void {
  view.setUint8(at, Number(value));
}

/** PostgreSQL counts in microseconds from the first moment of the year 2000. */
export function timestamptzArray<Row>(column: Column<Row, Date>): ArrayOf<Row> {
  return (rows) => fixedArray(rows, column, TYPES.timestamptz, 8, writeMoment);
}

const YEAR_2000_MS = Date.UTC(2000, 0, 1);

function writeMoment(view: DataView, value: Date, at: number): void {
  const micros = (value.getTime() - YEAR_2000_MS) * 1000;
  mustFit(Number.isSafeInteger(micros), value, 'timestamptz');
  view.setBigInt64(at, BigInt(micros));
}

/** An array whose elements are all of one size. */
function fixedArray<Row, Value>(
  rows: readonly Row[],
  column: Column<Row, Value>,
  type: number,
  size: number,
  write: (view: DataView, value: Value, at: number) => void,
): Buffer {
  const buffer = Buffer.allocUnsafe(HEADER_BYTES + rows.length * (LENGTH_BYTES + size));
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  let at = 0;
  for (const word of header(type, rows.length)) {
    view.setInt32(at, word);
    at += 4;
  }
  for (const row of rows) {
    const value = column(row);
    view.setInt32(at, value === null ? NULL_LENGTH : size);
    at += LENGTH_BYTES;
    if (value === null) continue;
    write(view, value, at);
    at += size;
  }
  return buffer.subarray(0, at);
}

/** One dimension, counted from 1. The second word says no more than that there may be nulls. */
function header(type: number, length: number): number[] {
  return [1, 1, type, length, 1];
}

function asBytes(word: number): string {
  return String.fromCharCode((word >>> 24) & 255, (word >>> 16) & 255, (word >>> 8) & 255, word & 255);
}

function asHex(word: number): string {
  return word.toString(16).padStart(8, '0');
}
