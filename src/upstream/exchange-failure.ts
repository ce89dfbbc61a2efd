import { ADDRESS_REFUSED } from './address-guard.ts';

/** Both carry public words only; `code` is for the log. */
export type ExchangeFailure = { kind: 'unreachable' | 'output_invalid'; detail: string; code: string };

/** What went wrong on the wire, in public words. */
export function failureOf(error: Error): ExchangeFailure {
  const code = (error as NodeJS.ErrnoException).code ?? error.name;
  return error.name === 'HTTPParserError' || code === 'UND_ERR_HEADERS_OVERFLOW'
    ? { kind: 'output_invalid', detail: 'the answer is not valid HTTP', code }
    : { kind: 'unreachable', detail: unreachableDetail(code), code };
}

function unreachableDetail(code: string): string {
  if (code === ADDRESS_REFUSED) return 'its host name leads to an address that is not public';
  if (code === 'ECONNREFUSED') return 'it refused the connection';
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'its host name could not be found';
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT')
    return 'it could not be connected to in time';
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH') return 'no route leads to it';
  if (code === 'UND_ERR_DESTROYED' || code === 'UND_ERR_CLOSED') return 'the gateway closed the connection';
  if (/CERT|TLS|SSL|SELF_SIGNED/.test(code)) return 'no trusted TLS connection could be made';
  return 'the connection was lost before the answer was whole';
}
