import { unreachable } from '../base/invariant.ts';
import { createLookalikes } from './csv-lookalikes.ts';

/** `integer`, `number` and `boolean` as in JSON; dates are ISO 8601; `empty` has no value at all. */
export type ColumnType = 'integer' | 'number' | 'boolean' | 'date' | 'datetime' | 'string' | 'empty';

export type ColumnProfile = {
  name: string;
  type: ColumnType;
  /** Cells with a value. */
  count: number;
  nulls: number;
  distinct: number;
  /** False when there were too many different values to remember; `distinct` is then a lower bound. */
  distinct_is_exact: boolean;
  /** Of numbers by size, of dates by time, of text by alphabet. Left out for booleans and empty columns. */
  min?: number | string;
  max?: number | string;
  /** Only of numbers. */
  mean?: number;
  /** The first different values, as written. */
  examples: string[];
};

const MAX_DISTINCT = 50_000;
const MAX_EXAMPLES = 3;
const MAX_TEXT = 80;
/** A column is still called numeric or temporal when at most one value in ten is not. */
const TOLERATED_STRAYS = 0.1;

/** Collects what one column holds, in bounded memory, cell by cell. */
export function createColumn(name: string) {
  let nulls = 0;
  let count = 0;
  const distinct = new Set<string>();
  let distinctIsExact = true;
  const kinds = { integer: 0, number: 0, boolean: 0, date: 0, datetime: 0, string: 0 };
  const firstOf = new Map<string, { value: string; row: number }>();
  const numbers = createRange<number>((value) => value);
  const times = createRange<string>((value) => Date.parse(value));
  let sum = 0;
  const lookalikes = createLookalikes();
  let least: string | undefined;
  let greatest: string | undefined;

  function add(cell: string, row: number): void {
    const value = cell.trim();
    if (NULLS.has(value.toLowerCase())) {
      nulls += 1;
      return;
    }
    count += 1;
    if (distinct.size < MAX_DISTINCT) distinct.add(value);
    else if (!distinct.has(value)) distinctIsExact = false;

    const kind = kindOf(value);
    kinds[kind] += 1;
    if (kind === 'string') lookalikes.add(value);
    if (!firstOf.has(kind)) firstOf.set(kind, { value, row });
    if (kind === 'integer' || kind === 'number') {
      numbers.add(Number(value));
      sum += Number(value);
    } else if (kind === 'date' || kind === 'datetime') {
      times.add(value);
    }
    if (least === undefined || value < least) least = value;
    if (greatest === undefined || value > greatest) greatest = value;
  }

  function profile(): { profile: ColumnProfile; warning?: string } {
    const type = decideType(kinds, count);
    const strays = Object.entries(kinds).filter(([kind, found]) => found > 0 && !fits(kind, type));
    const stray = strays.map(([kind]) => firstOf.get(kind)).find((first) => first !== undefined);
    const strayCount = strays.reduce((total, [, found]) => total + found, 0);
    const result: ColumnProfile = {
      name,
      type,
      count,
      nulls,
      distinct: distinct.size,
      distinct_is_exact: distinctIsExact,
      ...extent(type),
      examples: [...distinct].slice(0, MAX_EXAMPLES).map(cut),
    };
    if (!stray) {
      const warning = type === 'string' ? lookalikes.warning(name, count) : undefined;
      return { profile: result, ...(warning === undefined ? {} : { warning }) };
    }
    const be = strayCount === 1 ? 'value is' : 'values are';
    return {
      profile: result,
      warning:
        `Column ${JSON.stringify(name)} is mostly ${type}, but ${strayCount} ${be} not: ` +
        `first ${JSON.stringify(cut(stray.value))} in row ${stray.row}.`,
    };
  }

  function extent(type: ColumnType): Pick<ColumnProfile, 'min' | 'max' | 'mean'> {
    switch (type) {
      case 'integer':
      case 'number': {
        const mean = sum / (kinds.integer + kinds.number);
        // Twelve digits hide the noise of adding binary fractions.
        return { min: numbers.min!, max: numbers.max!, mean: Number(mean.toPrecision(12)) };
      }
      case 'date':
      case 'datetime':
        return { min: times.min!, max: times.max! };
      case 'string':
        return { min: cut(least!), max: cut(greatest!) };
      case 'boolean':
      case 'empty':
        return {};
      default:
        return unreachable(type);
    }
  }

  return { add, profile };
}

const NULLS = new Set(['', 'null', 'na', 'n/a', 'nan', '\\n']);

type Kind = Exclude<ColumnType, 'empty'>;

function kindOf(value: string): Kind {
  // A leading zero is part of a code (a postcode, an account), and an integer JSON cannot carry exactly is one too.
  if (/^[+-]?(0|[1-9]\d*)$/.test(value)) return Number.isSafeInteger(Number(value)) ? 'integer' : 'string';
  if (/^[+-]?(0|[1-9]\d*)?(\.\d+)?([eE][+-]?\d{1,3})?$/.test(value) && /^[+-]?\.?\d/.test(value)) {
    return Number.isFinite(Number(value)) ? 'number' : 'string';
  }
  if (/^(true|false|yes|no)$/i.test(value)) return 'boolean';
  if (/^\d{4}-\d{2}-\d{2}$/.test(value)) return isRealDate(value) ? 'date' : 'string';
  if (/^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?$/.test(value)) {
    return isRealDate(value.slice(0, 10)) && !Number.isNaN(Date.parse(value)) ? 'datetime' : 'string';
  }
  return 'string';
}

/** The parser takes 30 February for the first days of March. */
function isRealDate(date: string): boolean {
  const time = Date.parse(`${date}T00:00:00Z`);
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(date);
}

function fits(kind: string, type: ColumnType): boolean {
  return (
    type === 'string' ||
    kind === type ||
    (type === 'number' && kind === 'integer') ||
    (type === 'datetime' && kind === 'date')
  );
}

function decideType(kinds: Record<Kind, number>, count: number): ColumnType {
  if (count === 0) return 'empty';
  // From narrow to wide, so the first that fits says most.
  const families = [
    ['boolean', kinds.boolean],
    ['integer', kinds.integer],
    ['date', kinds.date],
    ['number', kinds.integer + kinds.number],
    ['datetime', kinds.date + kinds.datetime],
  ] as const;
  const whole = families.find(([, found]) => found === count);
  if (whole) return whole[0];
  // The wide families first: 95 integers, 3 decimals and 2 words are numbers with two strays.
  const mostly = families.toReversed().find(([, found]) => found >= count * (1 - TOLERATED_STRAYS));
  if (!mostly) return 'string';
  if (mostly[0] === 'number' && kinds.number === 0) return 'integer';
  if (mostly[0] === 'datetime' && kinds.datetime === 0) return 'date';
  return mostly[0];
}

function createRange<T>(rank: (value: T) => number) {
  let min: T | undefined;
  let max: T | undefined;
  return {
    get min() {
      return min;
    },
    get max() {
      return max;
    },
    add(value: T) {
      if (min === undefined || rank(value) < rank(min)) min = value;
      if (max === undefined || rank(value) > rank(max)) max = value;
    },
  };
}

const GRAPHEMES = new Intl.Segmenter('en', { granularity: 'grapheme' });

function cut(text: string): string {
  if (text.length <= MAX_TEXT) return text;
  let kept = '';
  // What a person sees as one character is not cut in the middle.
  for (const { segment } of GRAPHEMES.segment(text.slice(0, 2 * MAX_TEXT))) {
    if (kept.length + segment.length >= MAX_TEXT) break;
    kept += segment;
  }
  return `${kept}…`;
}
