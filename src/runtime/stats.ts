/** What containers and pods use: one sweep of the cgroups for everyone who asks meanwhile. */
import type { CgroupStats } from '../core/ports/cgroup.js';
import type { InterfaceReading } from '../core/ports/network.js';
import type { RuntimeContext } from './context.js';
import type { Container, Sandbox } from './objects.js';

export interface CgroupUsage {
  /** undefined for what ended while it was asked about. */
  cgroup: CgroupStats | undefined;
  /** Since the reading before; undefined at the first one. */
  nanoCores: number | undefined;
}

export interface ContainerUsage extends CgroupUsage {
  container: Container;
  writableLayer: { usedBytes: number; inodesUsed: number; timestamp: bigint };
  mountpoint: string;
}

export interface SandboxUsage extends CgroupUsage {
  sandbox: Sandbox;
  /** undefined for the host's network, which is not the pod's. */
  network: InterfaceReading | undefined;
  /** Those that have not ended. */
  containers: ContainerUsage[];
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

  constructor(context: RuntimeContext) {
    this.#context = context;
  }

  /** Usage of the given containers; those that have ended are left out. */
  async containers(wanted: readonly Container[]): Promise<ContainerUsage[]> {
    const stats = await this.#context.cgroups.stats(wanted.map(({ id }) => id));
    this.#forgetEnded();
    return this.#usageOf(wanted, stats);
  }

  /** Usage of the given pods and of their containers; those that are not ready are left out. */
  async sandboxes(wanted: readonly Sandbox[]): Promise<SandboxUsage[]> {
    const { cgroups, namespaces, objects } = this.#context;
    const containers = wanted.flatMap(({ id }) => objects.containersOf(id));
    const connected = wanted.filter((s) => s.ready && s.record.namespaces.network === 'pod');
    const [stats, networks] = await Promise.all([
      cgroups.stats([...wanted, ...containers].map(({ id }) => id)),
      namespaces.interfaces(connected.map(({ id }) => id)),
    ]);
    this.#forgetEnded();
    const usage = new Map<string, ContainerUsage[]>();
    for (const one of await this.#usageOf(containers, stats)) {
      const { sandboxId } = one.container.record;
      usage.set(sandboxId, [...(usage.get(sandboxId) ?? []), one]);
    }
    return wanted
      .filter((sandbox) => sandbox.ready)
      .map((sandbox) => ({
        sandbox,
        ...this.#cgroupOf(sandbox.id, stats),
        network: networks.get(sandbox.id),
        containers: usage.get(sandbox.id) ?? [],
      }));
  }

  #usageOf(
    containers: readonly Container[],
    stats: ReadonlyMap<string, CgroupStats>,
  ): Promise<ContainerUsage[]> {
    // After the sweep: asking for the usage of one that was removed meanwhile would remember it for good.
    const running = containers.filter(({ life }) => life.state !== 'exited');
    const mountpoint = this.#context.rootfs.mountpoint();
    return Promise.all(
      running.map(async (container) => ({
        container,
        ...this.#cgroupOf(container.id, stats),
        writableLayer: await this.#context.rootfs.usage(container.id),
        mountpoint,
      })),
    );
  }

  #cgroupOf(id: string, stats: ReadonlyMap<string, CgroupStats>): CgroupUsage {
    const cgroup = stats.get(id);
    return { cgroup, nanoCores: cgroup && this.#nanoCores(id, cgroup) };
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
    const { objects } = this.#context;
    for (const id of this.#samples.keys()) {
      const container = objects.findContainer(id);
      const isAlive = container
        ? container.life.state !== 'exited'
        : objects.findSandbox(id)?.ready === true;
      if (!isAlive) this.#samples.delete(id);
    }
  }
}
