import { lookup as resolve } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

/**
 * True for an address anyone on the internet may reach. Loopback, private, link-local (cloud metadata lives
 * there), carrier-grade NAT, multicast, documentation and every transition form that can smuggle an IPv4
 * address (mapped, 6to4, Teredo, NAT64) are refused.
 */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address);
  // IPv4-compatible IPv6 (`::127.0.0.1`, deprecated by RFC 4291) counts as unicast for the library.
  if (parsed.kind() === 'ipv6' && SMUGGLING_FORMS.check(parsed.toNormalizedString(), 'ipv6')) return false;
  return parsed.range() === 'unicast';
}

const SMUGGLING_FORMS = new BlockList();
SMUGGLING_FORMS.addSubnet('::', 96, 'ipv6');
// NAT64 for local use (RFC 8215).
SMUGGLING_FORMS.addSubnet('64:ff9b:1::', 48, 'ipv6');

/** The host of a URL when it is an IP literal; the URL parser has already undone spellings like `0x7f.1`. */
export function ipLiteralOf(url: URL): string | undefined {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return isIP(host) === 0 ? undefined : host;
}

/** The code of the error that {@link lookupPublic} fails with. */
export const PRIVATE_ADDRESS = 'PRIVATE_ADDRESS';

/**
 * Resolves a name for the very connection that is being opened, so the address that was checked is the one
 * that is dialled: a name that answers differently the second time (DNS rebinding) gains nothing. One private
 * address among several refuses the name.
 */
export const lookupPublic: LookupFunction = (hostname, options, callback) => {
  resolve(hostname, { ...options, all: true }, (error, addresses) => {
    const first = addresses?.[0];
    if (error || !first) {
      callback(error ?? new Error(`no address for ${hostname}`), []);
    } else if (!addresses.every(({ address }) => isPublicAddress(address))) {
      callback(Object.assign(new Error('private address'), { code: PRIVATE_ADDRESS }), []);
    } else if (options.all) {
      callback(null, addresses);
    } else {
      callback(null, first.address, first.family);
    }
  });
};
