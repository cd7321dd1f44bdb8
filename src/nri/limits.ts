/** Limits in NRI's words, which are OCI's, as ours. What cgroup v2 or pvecri has nothing for is refused by name. */
import { RuntimeError } from '../core/errors.js';
import type { Pairs, Resources } from '../core/model.js';
import { NO_LIMITS } from '../core/resource-change.js';
import type { LinuxResources } from './gen/linux.js';
import { Field } from './gen/validation.js';

export interface ReadLimits {
  resources: Resources;
  /** What was set, for the owners. */
  claims: [field: Field, key: string][];
}

/** `who` begins the messages of refusals. */
export function readLimits(found: LinuxResources, who: string): ReadLimits {
  refuseForeign(found, who);
  const claims: ReadLimits['claims'] = [];
  const number = (field: Field, name: string, given: { value: bigint } | undefined): number => {
    // As runc has it, 0 is nothing said.
    if (given === undefined || given.value === 0n) return 0;
    claims.push([field, '']);
    return toNumber(given.value, `${who}: linux.resources.${name}`);
  };
  const text = (field: Field, given: string | undefined): string => {
    if (given === undefined || given === '') return '';
    claims.push([field, '']);
    return given;
  };
  const { memory, cpu, pids } = found;
  const unified: Pairs = [];
  for (const [file, value] of found.unified) {
    claims.push([Field.CgroupsUnified, file]);
    unified.push([file, value]);
  }
  const low = number(Field.MemReservation, 'memory.reservation', memory?.reservation);
  // What runc makes of a reservation with cgroup v2.
  if (low !== 0) unified.push(['memory.low', orMax(low)]);
  if (pids !== undefined && pids.limit !== 0n) {
    claims.push([Field.PidsLimit, '']);
    unified.push(['pids.max', orMax(toNumber(pids.limit, `${who}: linux.resources.pids.limit`))]);
  }
  const hugepages = found.hugepageLimits.map(({ pageSize, limit }) => {
    claims.push([Field.HugepageLimits, pageSize]);
    return { pageSize, limitBytes: Number(limit) };
  });
  const resources: Resources = {
    ...NO_LIMITS,
    cpuShares: number(Field.CPUShares, 'cpu.shares', cpu?.shares),
    cpuQuota: number(Field.CPUQuota, 'cpu.quota', cpu?.quota),
    cpuPeriod: number(Field.CPUPeriod, 'cpu.period', cpu?.period),
    cpusetCpus: text(Field.CPUSetCPUs, cpu?.cpus),
    cpusetMems: text(Field.CPUSetMems, cpu?.mems),
    memoryLimitBytes: number(Field.MemLimit, 'memory.limit', memory?.limit),
    memorySwapLimitBytes: number(Field.MemSwapLimit, 'memory.swap', memory?.swap),
    hugepages,
    unified,
  };
  return { resources, claims };
}

function refuseForeign({ memory, cpu, ...rest }: LinuxResources, who: string): void {
  const foreign: [name: string, isSet: boolean][] = [
    ['memory.kernel', isSet(memory?.kernel)],
    ['memory.kernel_tcp', isSet(memory?.kernelTcp)],
    ['memory.swappiness', memory?.swappiness !== undefined],
    ['memory.disable_oom_killer', memory?.disableOomKiller?.value === true],
    ['cpu.realtime_runtime', isSet(cpu?.realtimeRuntime)],
    ['cpu.realtime_period', isSet(cpu?.realtimePeriod)],
    ['blockio_class', (rest.blockioClass?.value ?? '') !== ''],
    ['rdt_class', (rest.rdtClass?.value ?? '') !== ''],
    ['devices', rest.devices.length > 0],
  ];
  for (const [name, set] of foreign) {
    if (set) throw unsupported(who, `linux.resources.${name}`);
  }
}

export function unsupported(who: string, field: string): RuntimeError {
  return new RuntimeError(
    'unimplemented',
    `${who} sets ${field}, which pvecri does not support: configure the plugin without it`,
  );
}

function isSet(given: { value: bigint } | undefined): boolean {
  return given !== undefined && given.value !== 0n;
}

function toNumber(value: bigint, where: string): number {
  // Go's "no limit" is the largest 64 bit number; ours is CRI's -1.
  if (value === -1n || value === 0x7fff_ffff_ffff_ffffn || value === 0xffff_ffff_ffff_ffffn) {
    return -1;
  }
  if (value > 0n && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw new RuntimeError(
    'invalid-argument',
    `${where} ${value} is out of range: expected -1 to ${Number.MAX_SAFE_INTEGER}`,
  );
}

function orMax(value: number): string {
  return value < 0 ? 'max' : String(value);
}
