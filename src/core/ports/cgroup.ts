/** The cgroups of pods and containers: limits and readings (cgroup/). A port has its real implementation in the adapter named, and a fake in test/fakes. */
import type { CgroupPlan, CgroupWrite } from '../model.js';
import type { CgroupSetting } from '../resources.js';

/** cgroup/: the part of the cgroup v2 hierarchy that pods live in. */
export interface CgroupTree {
  /** Controllers a pod's cgroup can use here; empty on a hybrid host. */
  readonly controllers: ReadonlySet<string>;
  /**
   * Makes a folder and its parents, with all usable controllers enabled down to its parent, and
   * configures it. What is a unit of systemd by its path is made by systemd.
   */
  make(path: string, settings?: readonly CgroupSetting[]): Promise<void>;
  /** Writes files of a folder in order; what the kernel refuses is told with file and value. */
  configure(path: string, settings: readonly CgroupSetting[]): Promise<void>;
  /**
   * How to change files that have values: what is raised before what is lowered, and how to go back.
   * Writes nothing. A memory limit below what is in use after reclaim is refused.
   */
  plan(changes: readonly CgroupChange[]): Promise<CgroupPlan>;
  /** Writes in order up to the first refusal. */
  write(writes: readonly CgroupWrite[]): Promise<void>;
  /** Kills every process below and waits until it is empty. OK when it is not there. */
  kill(path: string): Promise<void>;
  /** Removes what was made, with everything below; kills nothing. OK when it is not there. */
  remove(path: string): Promise<void>;
  /** Processes are about to be moved between cgroups: makes that quick, and resolves when it is. */
  expectMoves(): Promise<void>;
  /** Folders directly below, [] when it is not there. */
  children(path: string): Promise<string[]>;
  /** Makes a cgroup known to `stats` under a name. Counting the processes below costs a walk. */
  watch(name: string, path: string, options?: { countProcesses: boolean }): void;
  unwatch(name: string): void;
  /** The figures of these; what is not watched or removed is left out, maybe others are there. */
  stats(names: Iterable<string>): Promise<ReadonlyMap<string, CgroupStats>>;
}

export interface CgroupChange extends CgroupWrite {
  /** Passed over where the file is not there. */
  optional?: boolean;
}

export interface CgroupStats {
  /** When this cgroup was read, nanoseconds since the epoch. */
  timestamp: bigint;
  cpuUsageMicros?: number;
  memoryBytes?: number;
  inactiveFileBytes?: number;
  anonBytes?: number;
  pageFaults?: number;
  majorPageFaults?: number;
  swapBytes?: number;
  /** undefined for no limit. */
  memoryLimitBytes?: number;
  swapLimitBytes?: number;
  /** Of the cgroup and all below it, where they are counted. */
  processes?: number;
  cpuPressure?: Pressures;
  memoryPressure?: Pressures;
  ioPressure?: Pressures;
}

/** Time in which some, or all, processes waited for a resource (Documentation/accounting/psi.rst). */
export interface Pressures {
  some: Pressure;
  full: Pressure;
}

export interface Pressure {
  /** Percent of the last 10 s, minute and 5 minutes. */
  avg10: number;
  avg60: number;
  avg300: number;
  /** Microseconds in all. */
  total: number;
}
