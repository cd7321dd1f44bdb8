/**
 * Where pods and containers lie in the cgroup tree: the whole difference between the cgroup drivers
 * as far as names go. A pod keeps the layout it was made with, whatever driver is configured later.
 */
import { RuntimeError } from './errors.js';
import type { ContainerId, SandboxId } from './ids.js';
import type { ContainerCgroup } from './model.js';
import { slicePath } from './slice-name.js';
import { requireCgroup } from './text.js';

export type CgroupDriver = 'cgroupfs' | 'systemd';

export interface CgroupLayout {
  /** Holds everything of the agent's own. */
  readonly base: string;
  /** Holds the pods that were given no parent, named by their ids. */
  readonly ownPods: string;
  /** The cgroup of a new pod; '' for a parent of our own. Refuses a parent of the other driver's kind. */
  pod(parent: string, id: SandboxId): string;
  /** Where the init of a shared PID namespace lives: a pod's cgroup itself holds no processes. */
  podInit(pod: string, id: SandboxId): string;
  container(pod: string, id: ContainerId): ContainerCgroup;
}

/** Both drivers' layouts, for one agent among several on a host. */
export class CgroupLayouts {
  readonly driver: CgroupDriver;
  /** The configured driver's. */
  readonly configured: CgroupLayout;
  readonly all: readonly CgroupLayout[];
  readonly #cgroupfs: CgroupLayout;
  readonly #systemd: CgroupLayout;

  /** `agent` is this agent's name in the tree: letters, digits and dashes. */
  constructor(driver: CgroupDriver, agent: string) {
    this.driver = driver;
    this.#cgroupfs = new CgroupfsLayout(agent);
    this.#systemd = new SystemdLayout(agent);
    this.all = [this.#cgroupfs, this.#systemd];
    this.configured = driver === 'systemd' ? this.#systemd : this.#cgroupfs;
  }

  /** The layout of a pod that is there; cgroupfs pods never lie in a folder named as a slice. */
  of(pod: string): CgroupLayout {
    const isSystemd = isSlice(pod) || pod.startsWith(`${this.#systemd.base}/`);
    return isSystemd ? this.#systemd : this.#cgroupfs;
  }
}

class CgroupfsLayout implements CgroupLayout {
  readonly base: string;
  readonly ownPods: string;

  constructor(agent: string) {
    this.base = `/${agent}`;
    this.ownPods = `${this.base}/pod`;
  }

  pod(parent: string, id: SandboxId): string {
    if (parent === '') return `${this.ownPods}/${id}`;
    if (parent.endsWith('.slice')) {
      throw new RuntimeError(
        'invalid-argument',
        `sandbox linux.cgroup_parent ${JSON.stringify(parent)} is a systemd slice, but the cgroup driver is cgroupfs: set the kubelet's cgroupDriver to cgroupfs, or cgroup.driver of pvecri to systemd`,
      );
    }
    requireCgroup('sandbox linux.cgroup_parent', parent);
    return parent;
  }

  podInit(pod: string, id: SandboxId): string {
    return `${pod}/${id}`;
  }

  container(pod: string, id: ContainerId): ContainerCgroup {
    return {
      outer: `${pod}/${id}`,
      monitor: `${this.base}/monitor/${id}`,
      pivot: `${this.base}/pivot`,
      shim: `${this.base}/shim`,
    };
  }
}

/**
 * The kubelet's pods are slices, containers scopes in them with a folder `box` of ours: systemd resets
 * the limits of its own units when their properties change, but leaves alone what is inside a
 * delegated scope. So one such scope holds, as plain folders, all that needs no slice of the kubelet's.
 */
class SystemdLayout implements CgroupLayout {
  readonly base: string;
  readonly ownPods: string;
  readonly #ownScope: string;

  constructor(agent: string) {
    // A dash would put another agent's slice into the first one's.
    const name = agent.replaceAll('-', '_');
    this.base = slicePath(`${name}.slice`);
    this.#ownScope = `${this.base}/${name}-own.scope`;
    this.ownPods = `${this.#ownScope}/pod`;
  }

  pod(parent: string, id: SandboxId): string {
    if (parent === '') return `${this.ownPods}/${id}`;
    if (parent.includes('/')) {
      throw new RuntimeError(
        'invalid-argument',
        `sandbox linux.cgroup_parent ${JSON.stringify(parent)} is a path, but the cgroup driver is systemd and wants the name of a slice: set the kubelet's cgroupDriver to systemd, or cgroup.driver of pvecri to cgroupfs`,
      );
    }
    return slicePath(parent);
  }

  podInit(pod: string, id: SandboxId): string {
    return isSlice(pod) ? boxOf(pod, id) : `${pod}/${id}`;
  }

  container(pod: string, id: ContainerId): ContainerCgroup {
    return {
      outer: isSlice(pod) ? boxOf(pod, id) : `${pod}/${id}`,
      // Not in the kubelet's slice: what shims use would count against the pod's limits.
      monitor: `${this.#ownScope}/monitor/${id}`,
      pivot: `${this.#ownScope}/pivot`,
      shim: `${this.#ownScope}/shim`,
    };
  }
}

function isSlice(pod: string): boolean {
  return pod.endsWith('.slice');
}

/** The kubelet takes what stands between the last dash and `.scope` for the container's id. */
function boxOf(pod: string, id: string): string {
  return `${pod}/pvecri-${id}.scope/${BOX}`;
}

/** Of a scope's folders, the one that is limited, watched and killed. */
export const BOX = 'box';
