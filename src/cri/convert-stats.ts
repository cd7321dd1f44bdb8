/** What containers and pods use, as CRI words it. */
import { POD_INTERFACE } from '../core/pod-interface.js';
import type { CgroupStats, Pressure, Pressures } from '../core/ports/cgroup.js';
import type { InterfaceReading, InterfaceUsage } from '../core/ports/network.js';
import type { CgroupUsage, ContainerUsage, SandboxUsage } from '../runtime/stats.js';
import { toMap } from './convert-sandbox.js';
import type { ContainerAttributes, ContainerStats, PodSandboxStats } from './gen/stats.js';
import type {
  CpuUsage,
  IoUsage,
  MemoryUsage,
  NetworkInterfaceUsage,
  NetworkUsage,
  PsiData,
  PsiStats,
  SwapUsage,
} from './gen/usage.js';

export function toContainerStats(usage: ContainerUsage): ContainerStats {
  return { attributes: toAttributes(usage), ...toFigures(usage) };
}

export function toAttributes({ container: { record } }: ContainerUsage): ContainerAttributes {
  return {
    id: record.id,
    metadata: record.metadata,
    labels: toMap(record.labels),
    annotations: toMap(record.annotations),
  };
}

/** All that changes from one reading to the next. */
export function toFigures(usage: ContainerUsage): Omit<ContainerStats, 'attributes'> {
  const { cgroup, writableLayer } = usage;
  return {
    cpu: toCpu(usage),
    memory: cgroup && toMemory(cgroup),
    writableLayer: {
      timestamp: writableLayer.timestamp,
      fsId: { mountpoint: usage.mountpoint },
      usedBytes: value(writableLayer.usedBytes),
      inodesUsed: value(writableLayer.inodesUsed),
    },
    swap: cgroup && toSwap(cgroup),
    io: cgroup && toIo(cgroup),
  };
}

/** The kubelet dereferences attributes, linux and a network's default interface unseen: never absent. */
export function toSandboxStats(usage: SandboxUsage): PodSandboxStats {
  const { cgroup } = usage;
  const { record } = usage.sandbox;
  return {
    attributes: {
      id: record.id,
      metadata: record.metadata,
      labels: toMap(record.labels),
      annotations: toMap(record.annotations),
    },
    linux: {
      cpu: toCpu(usage),
      memory: cgroup && toMemory(cgroup),
      network: usage.network && toNetwork(usage.network),
      process:
        cgroup?.processes === undefined
          ? undefined
          : { timestamp: cgroup.timestamp, processCount: value(cgroup.processes) },
      containers: usage.containers.map(toContainerStats),
      io: cgroup && toIo(cgroup),
    },
    windows: undefined,
  };
}

function toCpu({ cgroup, nanoCores }: CgroupUsage): CpuUsage | undefined {
  return (
    cgroup && {
      timestamp: cgroup.timestamp,
      usageCoreNanoSeconds: value(scale(cgroup.cpuUsageMicros, 1000)),
      usageNanoCores: value(nanoCores),
      psi: toPsi(cgroup.cpuPressure),
    }
  );
}

/** Figures are absent, not zero, where the memory controller is not on the v2 hierarchy. */
function toMemory(cgroup: CgroupStats): MemoryUsage {
  const { memoryBytes, memoryLimitBytes, inactiveFileBytes = 0 } = cgroup;
  // The kubelet's own definition: what the kernel cannot drop at once.
  const workingSet =
    memoryBytes === undefined ? undefined : Math.max(0, memoryBytes - inactiveFileBytes);
  return {
    timestamp: cgroup.timestamp,
    workingSetBytes: value(workingSet),
    availableBytes: value(difference(memoryLimitBytes, workingSet)),
    usageBytes: value(memoryBytes),
    rssBytes: value(cgroup.anonBytes),
    pageFaults: value(cgroup.pageFaults),
    majorPageFaults: value(cgroup.majorPageFaults),
    psi: toPsi(cgroup.memoryPressure),
  };
}

function toSwap(cgroup: CgroupStats): SwapUsage | undefined {
  const { timestamp, swapBytes, swapLimitBytes } = cgroup;
  if (swapBytes === undefined) return undefined;
  return {
    timestamp,
    swapAvailableBytes: value(difference(swapLimitBytes, swapBytes)),
    swapUsageBytes: value(swapBytes),
  };
}

function toIo(cgroup: CgroupStats): IoUsage | undefined {
  const psi = toPsi(cgroup.ioPressure);
  return psi && { timestamp: cgroup.timestamp, psi };
}

function toPsi(pressures: Pressures | undefined): PsiStats | undefined {
  const line = ({ avg10, avg60, avg300, total }: Pressure): PsiData => ({
    Total: BigInt(Math.round(total * 1000)),
    Avg10: avg10,
    Avg60: avg60,
    Avg300: avg300,
  });
  return pressures && { Full: line(pressures.full), Some: line(pressures.some) };
}

function toNetwork({ timestamp, interfaces }: InterfaceReading): NetworkUsage | undefined {
  const main = interfaces.find(({ name }) => name === POD_INTERFACE) ?? interfaces[0];
  if (!main) return undefined;
  return {
    timestamp,
    defaultInterface: toInterface(main),
    interfaces: interfaces.filter((each) => each !== main).map(toInterface),
  };
}

function toInterface(usage: InterfaceUsage): NetworkInterfaceUsage {
  return {
    name: usage.name,
    rxBytes: value(usage.rxBytes),
    rxErrors: value(usage.rxErrors),
    txBytes: value(usage.txBytes),
    txErrors: value(usage.txErrors),
  };
}

function value(figure: number | undefined): { value: bigint } | undefined {
  return figure === undefined ? undefined : { value: BigInt(Math.round(figure)) };
}

function scale(figure: number | undefined, factor: number): number | undefined {
  return figure === undefined ? undefined : figure * factor;
}

/** What is left of a limit; nothing can be said without one. */
function difference(limit: number | undefined, used: number | undefined): number | undefined {
  return limit === undefined || used === undefined ? undefined : Math.max(0, limit - used);
}
