/** One place where two books that should agree do not. */
export type Difference = {
  /** What is compared: `account balance`, `top-up`, `receipt chain`. */
  what: string;
  /** Of the row the difference is in, with its prefix where it has one. */
  id: string;
  expected: string;
  found: string;
};
