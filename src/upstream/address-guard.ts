import { lookup as systemLookup } from 'node:dns';
import type { LookupAddress } from 'node:dns';
import { isIP } from 'node:net';
import type { LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

/** `allowEndpoint` is the operator's word: an endpoint it names is not restricted in scheme, address or port. */
export type EndpointRules = { allowEndpoint?: ((url: URL) => boolean) | undefined };

export type EndpointVerdict =
  | { kind: 'ok'; url: URL }
  | { kind: 'refused'; reason: string; /** By `allowEndpoint`. */ operatorMayAllow: boolean };

/** Every address a name has, in the order to try them. */
export type Resolve = (
  hostname: string,
  callback: (error: Error | null, addresses: LookupAddress[]) => void,
) => void;

/** The `code` of the error a guarded lookup fails with when a name leads somewhere private. */
export const ADDRESS_REFUSED = 'SENTINEL_ADDRESS_REFUSED';

/**
 * Whether an agent may be listed at this URL, and be called there. Everything that can be told without the
 * network: a name is looked up, checked and pinned when we connect (`guardLookup`). `reason` is public.
 */
export function checkEndpointUrl(text: string, rules: EndpointRules = {}): EndpointVerdict {
  if (text.length > 2_048) return refused('is longer than 2,048 characters');
  if (!URL.canParse(text)) return refused('is not a URL');
  // The WHATWG parser turns every spelling of an IPv4 address (`127.1`, `0x7f000001`, `2130706433`, full-width
  // digits) into the dotted one, so what is judged below is what would be connected to.
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return refused('must start with https://');
  if (url.username !== '' || url.password !== '') return refused('must not carry a user name or password');
  if (url.href.includes('#')) return refused('must not have a fragment');
  if (rules.allowEndpoint?.(url)) return { kind: 'ok', url };

  if (url.protocol !== 'https:') return forOperator('must start with https://');
  if (!isAllowedPort(url.port)) return forOperator(`must not use port ${url.port}`);
  const hostname = bareHostname(url);
  if (isIP(hostname) !== 0) {
    return isPublicAddress(hostname)
      ? { kind: 'ok', url }
      : forOperator('must not be a private or reserved address');
  }
  if (isLocalName(hostname)) return forOperator('must be a public host name');
  return { kind: 'ok', url };
}

/**
 * True for public unicast only. An IPv6 address that carries an IPv4 address (mapped, NAT64, 6to4) reaches
 * that one, so that one is judged.
 */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address);
  if (parsed.kind() === 'ipv4') return parsed.range() === 'unicast';

  const ipv6 = parsed as ipaddr.IPv6;
  const bytes = ipv6.toByteArray();
  const range = ipv6.range();
  // Only the well-known prefix embeds in the last 32 bits; RFC 8215's 64:ff9b:1::/48 is for private use.
  if (ipv6.match(WELL_KNOWN_NAT64, 96)) return isPublicAddress(bytes.slice(12).join('.'));
  if (range === '6to4') return isPublicAddress(bytes.slice(2, 6).join('.'));
  // ipaddr.js calls `unicast` whatever it has no name for, the deprecated `::127.0.0.1` included.
  return range === 'unicast' && ipv6.match(GLOBAL_UNICAST, 3);
}

/**
 * The `lookup` for a connection: resolves once, refuses the name when any of its addresses is not public,
 * and hands over exactly what it checked. No second resolution happens that could answer differently.
 */
export function guardLookup(resolve: Resolve = resolveWithSystem): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, (error, addresses) => {
      if (error) return callback(error, '');
      const first = addresses[0];
      if (!first || !addresses.every(({ address }) => isPublicAddress(address))) {
        const message = `${hostname} leads to an address that is not public`;
        return callback(Object.assign(new Error(message), { code: ADDRESS_REFUSED }), '');
      }
      if (options.all) return callback(null, addresses);
      return callback(null, first.address, first.family);
    });
  };
}

const GLOBAL_UNICAST = ipaddr.IPv6.parse('2000::');
const WELL_KNOWN_NAT64 = ipaddr.IPv6.parse('64:ff9b::');

/** Ports of data stores and control planes that understand, or are harmed by, a stray HTTP request. */
const REFUSED_PORTS = new Set([
  1433, 1521, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5432, 5433, 5672, 5984, 6379, 6380, 6443,
  8086, 8500, 9042, 9092, 9200, 9300, 10250, 11211, 15672, 26379, 27017, 27018, 50000,
]);

function isAllowedPort(port: string): boolean {
  if (port === '') return true;
  const number = Number(port);
  return number === 80 || number === 443 || (number > 1023 && !REFUSED_PORTS.has(number));
}

/** Without the brackets of an IPv6 literal and the trailing dots of an absolute name. */
function bareHostname(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '').replace(/\.+$/, '');
}

/** Names that only mean something inside a network (RFC 6761, 6762, 8375, and cloud metadata). */
function isLocalName(hostname: string): boolean {
  return (
    !hostname.includes('.') || /\.(localhost|local|internal|intranet|lan|home\.arpa|onion)$/.test(hostname)
  );
}

function refused(reason: string): EndpointVerdict {
  return { kind: 'refused', reason, operatorMayAllow: false };
}

function forOperator(reason: string): EndpointVerdict {
  return { kind: 'refused', reason, operatorMayAllow: true };
}

function resolveWithSystem(
  hostname: string,
  callback: (error: Error | null, addresses: LookupAddress[]) => void,
): void {
  systemLookup(hostname, { all: true }, (error, addresses) => callback(error, addresses ?? []));
}
