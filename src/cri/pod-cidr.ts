/** The node's share of the cluster's pod addresses, as the kubelet tells it: `10.1.2.0/24,fd00:2::/64`. */
import { isIPv4, isIPv6 } from 'node:net';
import { RuntimeError } from '../core/errors.js';

/** One CIDR, or one of each family; [] for '', which the kubelet sends where nobody has assigned any. */
export function parsePodCidrs(text: string): string[] {
  if (text === '') return [];
  const cidrs = text.split(',');
  const families = cidrs.map((cidr) => familyOf(text, cidr));
  if (cidrs.length > 2 || new Set(families).size < families.length) {
    throw malformed(text, 'expected one, or one of each family');
  }
  return cidrs;
}

function familyOf(text: string, cidr: string): 4 | 6 {
  const [address = '', bits = '', ...rest] = cidr.split('/');
  const family = isIPv4(address) ? 4 : 6;
  const widest = family === 4 ? 32 : 128;
  const isPrefix = /^(0|[1-9]\d{0,2})$/.test(bits) && Number(bits) <= widest && rest.length === 0;
  // A zone (`%eth0`) belongs to an address of an interface, not to a network.
  if ((family === 6 && !isIPv6(address)) || address.includes('%') || !isPrefix) {
    throw malformed(text, `${JSON.stringify(cidr.slice(0, 80))} is no network such as 10.1.2.0/24`);
  }
  return family;
}

function malformed(text: string, why: string): RuntimeError {
  return new RuntimeError(
    'invalid-argument',
    `network_config.pod_cidr ${JSON.stringify(text.slice(0, 200))} is malformed: ${why}`,
  );
}
