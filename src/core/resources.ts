/** Limits of a container as files of its cgroup (cgroup v2, Documentation/admin-guide/cgroup-v2.rst). */
import { RuntimeError } from './errors.js';
import type { Resources } from './model.js';
import { requireNoControl } from './text.js';

/** A file of a cgroup and what to write to it. */
export interface CgroupSetting {
  file: string;
  value: string;
}

export interface CgroupSettings {
  settings: CgroupSetting[];
  /** Controllers that a limit needs and this host's cgroup v2 does not have. */
  missing: string[];
}

/** The kernel's own default, in microseconds. */
const DEFAULT_PERIOD = 100_000;
/** `-1` is how CRI says "no limit" where 0 says "not given". */
const UNLIMITED = 'max';

export function toCgroupSettings(
  resources: Resources,
  controllers: ReadonlySet<string>,
): CgroupSettings {
  const missing = new Set<string>();
  const settings = allSettings(resources).filter(({ file, value }) => {
    const controller = file.split('.')[0] ?? '';
    // Files of the core, cgroup.*, need no controller, and are not for the caller to set.
    if (controllers.has(controller)) return true;
    // The kubelet forbids every size of huge pages to who did not ask for it: no loss.
    if (controller !== 'hugetlb' || value !== '0') missing.add(controller);
    return false;
  });
  return { settings, missing: [...missing] };
}

/** As if the host had every controller. */
export function allSettings(resources: Resources): CgroupSetting[] {
  return [...cpu(resources), ...memory(resources), ...hugepages(resources), ...unified(resources)];
}

function cpu(resources: Resources): CgroupSetting[] {
  const { cpuShares, cpuQuota, cpuPeriod, cpusetCpus, cpusetMems } = resources;
  const settings: CgroupSetting[] = [];
  if (cpuShares > 0) {
    // 2..262144 onto 1..10000, as the kubelet maps the pod's own cgroup (KEP-2254).
    const shares = Math.min(Math.max(cpuShares, 2), 262_144);
    const weight = 1 + Math.floor(((shares - 2) * 9999) / 262_142);
    settings.push({ file: 'cpu.weight', value: String(weight) });
  }
  if (cpuQuota !== 0 || cpuPeriod > 0) {
    const quota = cpuQuota > 0 ? String(cpuQuota) : UNLIMITED;
    settings.push({ file: 'cpu.max', value: `${quota} ${cpuPeriod || DEFAULT_PERIOD}` });
  }
  if (cpusetCpus !== '')
    settings.push({ file: 'cpuset.cpus', value: cpuList('cpuset_cpus', cpusetCpus) });
  if (cpusetMems !== '')
    settings.push({ file: 'cpuset.mems', value: cpuList('cpuset_mems', cpusetMems) });
  return settings;
}

function cpuList(field: string, text: string): string {
  if (/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(text)) return text;
  throw new RuntimeError(
    'invalid-argument',
    `linux.resources.${field} ${JSON.stringify(text.slice(0, 80))} is malformed: expected a list such as 0-3,8`,
  );
}

function memory(resources: Resources): CgroupSetting[] {
  const { memoryLimitBytes, memorySwapLimitBytes } = resources;
  const settings: CgroupSetting[] = [];
  if (memoryLimitBytes !== 0) {
    const limit = memoryLimitBytes > 0 ? String(memoryLimitBytes) : UNLIMITED;
    settings.push({ file: 'memory.max', value: limit });
  }
  if (memorySwapLimitBytes > 0) {
    // CRI counts memory and swap together, cgroup v2 swap alone.
    if (memoryLimitBytes <= 0 || memorySwapLimitBytes < memoryLimitBytes) {
      throw new RuntimeError(
        'invalid-argument',
        `linux.resources.memory_swap_limit_in_bytes ${memorySwapLimitBytes} is below memory_limit_in_bytes ${memoryLimitBytes}: it is the sum of memory and swap`,
      );
    }
    settings.push({
      file: 'memory.swap.max',
      value: String(memorySwapLimitBytes - memoryLimitBytes),
    });
  } else if (memorySwapLimitBytes < 0) {
    settings.push({ file: 'memory.swap.max', value: UNLIMITED });
  }
  return settings;
}

function hugepages(resources: Resources): CgroupSetting[] {
  return resources.hugepages.flatMap(({ pageSize, limitBytes }) => {
    if (!/^[1-9]\d{0,5}[KMG]B$/.test(pageSize)) {
      throw new RuntimeError(
        'invalid-argument',
        `linux.resources.hugepage_limits: page size ${JSON.stringify(pageSize.slice(0, 80))} is malformed: expected one such as 2MB`,
      );
    }
    // The kubelet names every size of the host, most of them with 0.
    return [
      { file: `hugetlb.${pageSize}.max`, value: String(limitBytes) },
      { file: `hugetlb.${pageSize}.rsvd.max`, value: String(limitBytes) },
    ];
  });
}

/** Raw files by name: a name with a slash would leave the cgroup. */
function unified(resources: Resources): CgroupSetting[] {
  return resources.unified.map(([file, value]) => {
    if (!/^[a-z]+(\.[A-Za-z0-9_]+)+$/.test(file) || file.startsWith('cgroup.')) {
      throw new RuntimeError(
        'invalid-argument',
        `linux.resources.unified: ${JSON.stringify(file.slice(0, 80))} is no file of a controller: expected a name such as memory.high`,
      );
    }
    return { file, value: requireNoControl(`linux.resources.unified ${file}`, value) };
  });
}
