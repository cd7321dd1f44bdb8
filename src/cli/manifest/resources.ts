/** Requests and limits as the kubelet turns them into cgroup figures. */
import { LinuxContainerResources } from '../../cri/gen/index.js';
import type { RESOURCE_FIELDS, ContainerManifest } from './container-schema.js';
import { everyContainer } from './schema.js';
import type { PodSpec } from './schema.js';

const CPU_PERIOD_MICROS = 100_000n;
const MIN_SHARES = 2n;
const MAX_SHARES = 262_144n;
const MIN_QUOTA = 1000n;

/** `k8s.io/kubernetes/pkg/kubelet/qos`: least and most likely to be killed for memory. */
const GUARANTEED_OOM_SCORE = -997;
const BEST_EFFORT_OOM_SCORE = 1000;

export type ResourceField = (typeof RESOURCE_FIELDS)[number];

export interface Machine {
  cpus: number;
  memoryBytes: bigint;
}

interface Effective {
  cpuRequest: bigint;
  cpuLimit: bigint;
  memoryRequest: bigint;
  memoryLimit: bigint;
}

export function containerResources(
  spec: PodSpec,
  container: ContainerManifest,
  machineMemoryBytes: bigint,
): LinuxContainerResources {
  const { cpuRequest, cpuLimit, memoryLimit } = effective(container);
  const quota = (cpuLimit * CPU_PERIOD_MICROS) / 1000n;
  return LinuxContainerResources.create({
    cpuPeriod: CPU_PERIOD_MICROS,
    cpuShares: clamp((cpuRequest * 1024n) / 1000n, MIN_SHARES, MAX_SHARES),
    cpuQuota: cpuLimit === 0n ? 0n : quota < MIN_QUOTA ? MIN_QUOTA : quota,
    memoryLimitInBytes: memoryLimit,
    hugepageLimits: hugepages(container),
    oomScoreAdj: BigInt(oomScore(spec, container, machineMemoryBytes)),
  });
}

/** CRI writes sizes of pages as the kernel names the hugetlb files: 2MB, 1GB. */
function hugepages({ resources }: ContainerManifest): { pageSize: string; limit: bigint }[] {
  const sizes = [
    ['2MB', resources.limits['hugepages-2Mi']],
    ['1GB', resources.limits['hugepages-1Gi']],
  ] as const;
  return sizes.flatMap(([pageSize, limit]) => (limit === undefined ? [] : [{ pageSize, limit }]));
}

/** What a resourceFieldRef stands for: cores or bytes, in units of the divisor, rounded up. */
export function resourceField(
  container: ContainerManifest,
  resource: ResourceField,
  divisorThousandths: bigint,
  machine: Machine,
): bigint {
  const { cpuRequest, cpuLimit, memoryRequest, memoryLimit } = effective(container);
  const thousandths = {
    // Without a limit it is all that the machine has, as in Kubernetes.
    'limits.cpu': cpuLimit || BigInt(machine.cpus) * 1000n,
    'limits.memory': (memoryLimit || machine.memoryBytes) * 1000n,
    'requests.cpu': cpuRequest,
    'requests.memory': memoryRequest * 1000n,
  }[resource];
  const divisor = divisorThousandths || 1000n;
  return (thousandths + divisor - 1n) / divisor;
}

/** A limit without a request stands for the request too. */
function effective(container: ContainerManifest): Effective {
  const { limits, requests } = container.resources;
  return {
    cpuRequest: requests.cpu ?? limits.cpu ?? 0n,
    cpuLimit: limits.cpu ?? 0n,
    memoryRequest: requests.memory ?? limits.memory ?? 0n,
    memoryLimit: limits.memory ?? 0n,
  };
}

export function qosClass(spec: PodSpec): 'Guaranteed' | 'Burstable' | 'BestEffort' {
  const all = everyContainer(spec).map(({ container }) => effective(container));
  const isGuaranteed = all.every(
    (one) =>
      one.cpuLimit > 0n &&
      one.memoryLimit > 0n &&
      one.cpuLimit === one.cpuRequest &&
      one.memoryLimit === one.memoryRequest,
  );
  if (isGuaranteed) return 'Guaranteed';
  const asksForNothing = all.every((one) => one.cpuRequest === 0n && one.memoryRequest === 0n);
  return asksForNothing ? 'BestEffort' : 'Burstable';
}

/** The more of the machine's memory a container asked for, the later it is chosen. */
function oomScore(spec: PodSpec, container: ContainerManifest, machineMemoryBytes: bigint): number {
  const qos = qosClass(spec);
  if (qos === 'Guaranteed') return GUARANTEED_OOM_SCORE;
  if (qos === 'BestEffort') return BEST_EFFORT_OOM_SCORE;
  const request = effective(container).memoryRequest;
  const score = 1000 - Number((1000n * request) / machineMemoryBytes);
  return Math.min(Math.max(score, 1000 + GUARANTEED_OOM_SCORE), BEST_EFFORT_OOM_SCORE - 1);
}

function clamp(value: bigint, least: bigint, most: bigint): bigint {
  if (value < least) return least;
  return value > most ? most : value;
}
