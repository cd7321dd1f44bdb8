/** Changing limits in place: what a request that names some of them means beside those in force. */
import type { Pairs, Resources } from './model.js';
import { allSettings, toCgroupSettings } from './resources.js';

/** Nothing given. */
export const NO_LIMITS: Resources = {
  cpuShares: 0,
  cpuQuota: 0,
  cpuPeriod: 0,
  cpusetCpus: '',
  cpusetMems: '',
  memoryLimitBytes: 0,
  memorySwapLimitBytes: 0,
  hugepages: [],
  unified: [],
};

/**
 * Fills in the other half where one file holds two limits: cpu.max is quota and period, and CRI's
 * swap limit is a sum. What is 0 or '' stays "not given": its file is left alone.
 */
export function completeChange(change: Resources, current: Resources | null): Resources {
  const { cpuQuota, cpuPeriod, memoryLimitBytes, memorySwapLimitBytes } = current ?? NO_LIMITS;
  const changesCpu = change.cpuQuota !== 0 || change.cpuPeriod !== 0;
  return {
    ...change,
    cpuQuota: changesCpu ? change.cpuQuota || cpuQuota : 0,
    cpuPeriod: changesCpu ? change.cpuPeriod || cpuPeriod : 0,
    memoryLimitBytes:
      change.memoryLimitBytes || (change.memorySwapLimitBytes > 0 ? memoryLimitBytes : 0),
    // A container that may swap by as much as before, whatever its memory.
    memorySwapLimitBytes:
      change.memorySwapLimitBytes ||
      (change.memoryLimitBytes > 0 && memoryLimitBytes > 0 && memorySwapLimitBytes > 0
        ? change.memoryLimitBytes + memorySwapLimitBytes - memoryLimitBytes
        : 0),
  };
}

/** What is in force once a completed change has been made. */
export function mergeResources(current: Resources | null, change: Resources): Resources {
  const before = current ?? NO_LIMITS;
  const changed = new Set(allSettings(change).map(({ file }) => file));
  const sizes = new Set(change.hugepages.map(({ pageSize }) => pageSize));
  // A file that the change sets by a field of its own is no longer what `unified` said.
  const unified = new Map(before.unified.filter(([file]) => !changed.has(file)));
  for (const [file, value] of change.unified) unified.set(file, value);
  return {
    cpuShares: change.cpuShares || before.cpuShares,
    cpuQuota: change.cpuQuota || before.cpuQuota,
    cpuPeriod: change.cpuPeriod || before.cpuPeriod,
    cpusetCpus: change.cpusetCpus || before.cpusetCpus,
    cpusetMems: change.cpusetMems || before.cpusetMems,
    memoryLimitBytes: change.memoryLimitBytes || before.memoryLimitBytes,
    // Swap has no sum with memory where memory has no limit.
    memorySwapLimitBytes:
      change.memorySwapLimitBytes ||
      (change.memoryLimitBytes < 0
        ? Math.min(before.memorySwapLimitBytes, 0)
        : before.memorySwapLimitBytes),
    hugepages: [
      ...before.hugepages.filter(({ pageSize }) => !sizes.has(pageSize)),
      ...change.hugepages,
    ],
    unified: [...unified],
  };
}

/**
 * For a cgroup that holds a pod's containers and what the pod itself needs. Where the containers
 * have no limit there is none for both.
 */
export function addOverhead(containers: Resources, overhead: Resources | null): Resources {
  if (!overhead) return containers;
  const add = (limit: number, more: number): number =>
    limit > 0 && more > 0 ? limit + more : limit;
  const period = containers.cpuPeriod || overhead.cpuPeriod;
  const { cpuQuota } = overhead;
  const quota = overhead.cpuPeriod > 0 ? (cpuQuota * period) / overhead.cpuPeriod : cpuQuota;
  return {
    ...containers,
    cpuShares: add(containers.cpuShares, overhead.cpuShares),
    cpuQuota: add(containers.cpuQuota, Math.round(quota)),
    memoryLimitBytes: add(containers.memoryLimitBytes, overhead.memoryLimitBytes),
    memorySwapLimitBytes: add(containers.memorySwapLimitBytes, overhead.memoryLimitBytes),
  };
}

/** Without the limits whose controllers are missing; null when that leaves nothing. */
export function limitsInForce(
  resources: Resources,
  controllers: ReadonlySet<string>,
): Resources | null {
  const { settings, missing } = toCgroupSettings(resources, controllers);
  if (missing.length === 0) return resources;
  if (settings.length === 0) return null;
  const has = (controller: string): boolean => controllers.has(controller);
  const unified: Pairs = resources.unified.filter(([file]) => has(file.split('.')[0] ?? ''));
  return {
    ...NO_LIMITS,
    ...(has('cpu') && {
      cpuShares: resources.cpuShares,
      cpuQuota: resources.cpuQuota,
      cpuPeriod: resources.cpuPeriod,
    }),
    ...(has('cpuset') && {
      cpusetCpus: resources.cpusetCpus,
      cpusetMems: resources.cpusetMems,
    }),
    ...(has('memory') && {
      memoryLimitBytes: resources.memoryLimitBytes,
      memorySwapLimitBytes: resources.memorySwapLimitBytes,
    }),
    hugepages: has('hugetlb') ? resources.hugepages : [],
    unified,
  };
}
