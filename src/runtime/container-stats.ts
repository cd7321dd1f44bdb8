/** ContainerStats and ListContainerStats: one sweep of the cgroups for everyone who asks meanwhile. */
import type { CgroupStats } from '../core/ports.js';
import type { RuntimeContext } from './context.js';
import type { Container } from './objects.js';

export interface ContainerUsage {
  container: Container;
  /** undefined for a container that ended while it was asked about. */
  cgroup: CgroupStats | undefined;
  /** Since the sweep before; undefined at the first one. */
  nanoCores: number | undefined;
  writableLayer: { usedBytes: number; inodesUsed: number; timestamp: bigint };
  mountpoint: string;
}

interface Sample {
  timestamp: bigint;
  cpuUsageMicros: number;
  nanoCores: number | undefined;
}

/** Shorter gaps give figures that are mostly noise: the earlier figure is repeated then. */
const MIN_GAP_NS = 100_000_000n;

export class StatsCollector {
  readonly #context: RuntimeContext;
  readonly #samples = new Map<string, Sample>();
  #sweep: Promise<ReadonlyMap<string, CgroupStats>> | undefined;

  constructor(context: RuntimeContext) {
    this.#context = context;
  }

  /** Usage of the given containers; those that have ended are left out. */
  async collect(containers: readonly Container[]): Promise<ContainerUsage[]> {
    this.#sweep ??= this.#context.cgroups.stats().finally(() => (this.#sweep = undefined));
    const stats = await this.#sweep;
    this.#forgetEnded();
    // After the sweep: asking for the usage of one that was removed meanwhile would remember it for good.
    const running = containers.filter((c) => c.life.state !== 'exited');
    const mountpoint = this.#context.rootfs.mountpoint();
    return Promise.all(
      running.map(async (container) => {
        const cgroup = stats.get(container.id);
        return {
          container,
          cgroup,
          nanoCores: cgroup && this.#nanoCores(container.id, cgroup),
          writableLayer: await this.#context.rootfs.usage(container.id),
          mountpoint,
        };
      }),
    );
  }

  #nanoCores(id: string, stats: CgroupStats): number | undefined {
    const { cpuUsageMicros, timestamp } = stats;
    if (cpuUsageMicros === undefined) return undefined;
    const before = this.#samples.get(id);
    const gap = before ? timestamp - before.timestamp : 0n;
    if (before && gap < MIN_GAP_NS) return before.nanoCores;
    const nanoCores = before
      ? Math.max(0, Math.round(((cpuUsageMicros - before.cpuUsageMicros) * 1e12) / Number(gap)))
      : undefined;
    this.#samples.set(id, { timestamp, cpuUsageMicros, nanoCores });
    return nanoCores;
  }

  #forgetEnded(): void {
    for (const id of this.#samples.keys()) {
      const container = this.#context.objects.findContainer(id);
      if (!container || container.life.state === 'exited') this.#samples.delete(id);
    }
  }
}
