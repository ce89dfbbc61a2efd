/**
 * What an agent says instead of an answer: an HTTP status that is not 2xx and a sentence for whoever called.
 * The message never carries internal error text.
 */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly status: RefusalStatus;

  constructor(status: RefusalStatus, message: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

/** 400 input, 403 address, 413 size, 422 a document that cannot be worked on, 502 and 504 its server, 503 busy. */
export type RefusalStatus = 400 | 403 | 413 | 422 | 502 | 503 | 504;
