/** Linux capabilities by name and number, and the set a container gets. */
import { RuntimeError } from './errors.js';

/** In the order of linux/capability.h: the index is the number. */
const NAMES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
] as const;

/** What every CRI runtime gives a container that asks for nothing. */
const DEFAULT = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'MKNOD',
  'NET_RAW',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
  'KILL',
  'AUDIT_WRITE',
];

export interface CapabilityRequest {
  add: readonly string[];
  drop: readonly string[];
  privileged: boolean;
  /** Added like `add`, and kept through the execve of a user other than root. */
  ambient: readonly string[];
}

export interface ResolvedCapabilities {
  capabilities: number[];
  ambientCapabilities: number[];
}

/**
 * The exact set, as numbers in ascending order. `ALL` is honoured in both lists; a name may carry
 * `CAP_` or not, in any case. Adding wins over a dropped ALL, dropping wins over an added ALL.
 */
export function resolveCapabilities(request: CapabilityRequest): ResolvedCapabilities {
  const ambient = normalise(request.ambient);
  const capabilities = resolveSet(request, ambient);
  const isAmbient = (number: number): boolean =>
    ambient.has('ALL') || ambient.has(NAMES[number] ?? '');
  return { capabilities, ambientCapabilities: capabilities.filter(isAmbient) };
}

function resolveSet(request: CapabilityRequest, ambient: ReadonlySet<string>): number[] {
  if (request.privileged) return NAMES.map((_, number) => number);
  const add = new Set([...normalise(request.add), ...ambient]);
  const drop = normalise(request.drop);
  const set = new Set(drop.has('ALL') ? [] : DEFAULT);
  if (add.has('ALL')) for (const name of NAMES) set.add(name);
  if (!add.has('ALL')) for (const name of add) set.add(name);
  // With "drop ALL, add X" the X stays; a name in both lists without ALL is dropped, as in runc's callers.
  for (const name of drop) if (!(drop.has('ALL') && add.has(name))) set.delete(name);
  return NAMES.flatMap((name, number) => (set.has(name) ? [number] : []));
}

function normalise(names: readonly string[]): Set<string> {
  return new Set(
    names.map((given) => {
      const name = given.toUpperCase().replace(/^CAP_/, '');
      if (name === 'ALL' || (NAMES as readonly string[]).includes(name)) return name;
      throw new RuntimeError(
        'invalid-argument',
        `capability ${JSON.stringify(given.slice(0, 80))} is unknown: expected a name of capabilities(7) or ALL`,
      );
    }),
  );
}

/** Of a name with or without `CAP_`; undefined for one that does not exist. */
export function capabilityNumber(name: string): number | undefined {
  const number = NAMES.findIndex((each) => each === name.replace(/^CAP_/, ''));
  return number < 0 ? undefined : number;
}

export function capabilityName(number: number): string {
  return `CAP_${NAMES[number] ?? number}`;
}
