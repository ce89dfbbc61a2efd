import type { Fault } from '../base/problem.ts';

/** The gateway refused, and said why. The message is the problem's `detail`, fit to show to a person. */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem';
  readonly status: number;
  /** The stable code of the problem, such as `NOT_FOUND`. */
  readonly code: string;
  readonly faults: Fault[];
  readonly requestId: string | undefined;

  constructor(told: {
    status: number;
    code: string;
    detail: string;
    faults: Fault[];
    requestId: string | undefined;
  }) {
    super(told.detail);
    this.status = told.status;
    this.code = told.code;
    this.faults = told.faults;
    this.requestId = told.requestId;
  }
}

/** Nothing that speaks like a gateway answered at that address. */
export class GatewayAway extends Error {
  override readonly name = 'GatewayAway';
  readonly url: string;

  constructor(url: string, cause: unknown) {
    super(`No Sentinel answers at ${url}`, { cause });
    this.url = url;
  }
}
