/** Container limits between CRI messages and the runtime's own type. */
import { RuntimeError } from '../core/errors.js';
import type { Resources } from '../core/model.js';
import { ContainerResources, LinuxContainerResources } from './gen/resources.js';

export function toResources(wire: LinuxContainerResources | undefined): Resources | null {
  if (!wire) return null;
  return {
    cpuShares: exact('cpu_shares', wire.cpuShares),
    cpuQuota: exact('cpu_quota', wire.cpuQuota),
    cpuPeriod: exact('cpu_period', wire.cpuPeriod),
    cpusetCpus: wire.cpusetCpus,
    cpusetMems: wire.cpusetMems,
    memoryLimitBytes: exact('memory_limit_in_bytes', wire.memoryLimitInBytes),
    memorySwapLimitBytes: exact('memory_swap_limit_in_bytes', wire.memorySwapLimitInBytes),
    hugepages: wire.hugepageLimits.map(({ pageSize, limit }) => ({
      pageSize,
      // The kernel's "no limit" is beyond what a double holds exactly, and rounds to itself.
      limitBytes: Number(limit),
    })),
    unified: [...wire.unified],
  };
}

function exact(field: string, value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number) && number >= -1) return number;
  throw new RuntimeError(
    'invalid-argument',
    `linux.resources.${field} ${value} is out of range: expected -1 to ${Number.MAX_SAFE_INTEGER}`,
  );
}

/** What ContainerStatus tells: the limits the container runs with. */
export function fromResources(resources: Resources | null): ContainerResources | undefined {
  if (!resources) return undefined;
  return ContainerResources.fromPartial({
    linux: LinuxContainerResources.fromPartial({
      cpuShares: BigInt(resources.cpuShares),
      cpuQuota: BigInt(resources.cpuQuota),
      cpuPeriod: BigInt(resources.cpuPeriod),
      cpusetCpus: resources.cpusetCpus,
      cpusetMems: resources.cpusetMems,
      memoryLimitInBytes: BigInt(resources.memoryLimitBytes),
      memorySwapLimitInBytes: BigInt(resources.memorySwapLimitBytes),
      hugepageLimits: resources.hugepages.map(({ pageSize, limitBytes }) => ({
        pageSize,
        limit: BigInt(limitBytes),
      })),
      unified: new Map(resources.unified),
    }),
  });
}
