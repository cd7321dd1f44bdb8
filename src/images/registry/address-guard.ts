/** Addresses that no registry, and nothing a registry points to, may be at. */
import { lookup as lookupName, type LookupAddress } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { RuntimeError } from '../../core/errors.js';

/** Link-local addresses are where clouds serve a node's own credentials. */
const never = new BlockList();
never.addSubnet('169.254.0.0', 16, 'ipv4');
never.addSubnet('0.0.0.0', 8, 'ipv4');
never.addSubnet('224.0.0.0', 3, 'ipv4');
never.addSubnet('fe80::', 10, 'ipv6');
never.addSubnet('ff00::', 8, 'ipv6');
never.addAddress('::', 'ipv6');
never.addAddress('fd00:ec2::254', 'ipv6');

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** `host` is a URL's hostname: an IPv6 address has brackets. */
export function isLoopbackHost(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, '').toLowerCase();
  if (isIP(name) !== 0) return isIn(loopback, name);
  return name === 'localhost' || name.endsWith('.localhost');
}

/**
 * Refuses a literal address that may not be contacted. What a server that is not on this host points
 * to (`isFollowed`) may not be on this host either: the agent would speak to local services for it.
 */
export function checkHost(host: string, isFollowed: boolean): void {
  const name = host.replace(/^\[|\]$/g, '');
  if (isFollowed && isLoopbackHost(host)) throw refused(host);
  if (isIP(name) !== 0) checkAddress(host, name, isFollowed);
}

/** dns.lookup that refuses the same addresses when a name stands for them. */
export function guardedLookup(isFollowed: boolean): LookupFunction {
  return (hostname, options, callback) => {
    // With an error there are no addresses, whatever the type says.
    const answer = (error: Error | null, addresses: LookupAddress[] = []): void => {
      const [first] = addresses;
      if (error || !first) {
        callback(error ?? new Error(`${hostname} has no address`), '', 0);
        return;
      }
      try {
        for (const { address } of addresses) checkAddress(hostname, address, isFollowed);
      } catch (refusal) {
        callback(refusal as Error, '', 0);
        return;
      }
      if (options.all) callback(null, addresses);
      else callback(null, first.address, first.family);
    };
    lookupName(hostname, { ...options, all: true }, answer);
  };
}

function checkAddress(host: string, address: string, isFollowed: boolean): void {
  if (isIn(never, address) || (isFollowed && isIn(loopback, address))) throw refused(host);
}

function isIn(list: BlockList, address: string): boolean {
  return list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

function refused(host: string): RuntimeError {
  return new RuntimeError(
    'permission-denied',
    `${host} is an address that images are never fetched from`,
  );
}
