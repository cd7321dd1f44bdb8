/** Reads the pod's addresses out of a CNI result of any version. */
import { isIP } from 'node:net';
import { z } from 'zod';
import type { CniResult } from './invoke.js';

const address = z.string().transform((text, context) => {
  const ip = text.split('/')[0] ?? '';
  if (isIP(ip) === 0) context.addIssue(`${JSON.stringify(text)} is not an address`);
  return ip;
});

const result = z.looseObject({
  interfaces: z
    .array(z.looseObject({ name: z.string().optional(), sandbox: z.string().optional() }))
    .optional(),
  ips: z.array(z.looseObject({ address, interface: z.int().optional() })).optional(),
  // Up to 0.2.0 a result had one address of each family.
  ip4: z.looseObject({ ip: address }).optional(),
  ip6: z.looseObject({ ip: address }).optional(),
});

/** Addresses of `ifName` inside the pod, in the order of the result. Throws on a malformed one. */
export function addressesOf(json: CniResult, ifName: string): string[] {
  const parsed = result.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new Error(`${issue?.path.map(String).join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  const { interfaces = [], ips = [], ip4, ip6 } = parsed.data;
  const inPod = ips.filter((entry) => {
    // An address need not say on which interface it is; one that does may mean the host's end.
    if (entry.interface === undefined) return true;
    const device = interfaces[entry.interface];
    return device?.name === ifName && (device.sandbox ?? '') !== '';
  });
  const old = [ip4?.ip, ip6?.ip].filter((ip) => ip !== undefined);
  return [...inPod.map((entry) => entry.address), ...old];
}
