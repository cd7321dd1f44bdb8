/** What several plugins make of one container to be: each sees what those before it did, none undoes it unasked. */
import type { Resources } from '../core/model.js';
import { mergeResources, NO_LIMITS } from '../core/resource-change.js';
import { ContainerAdjustment, LinuxContainerAdjustment } from './gen/adjustment.js';
import { Hooks, type Container } from './gen/container.js';
import type { LinuxResources } from './gen/linux.js';
import { Field } from './gen/validation.js';
import { toLinuxResources } from './facts.js';
import { readLimits, unsupported } from './limits.js';
import type { Owners } from './owners.js';

/** What begins a name that is to be removed. */
export const REMOVAL = '-';

export class Adjusting {
  /** As the next plugin sees it. */
  readonly container: Container;
  /** All adjustments so far, in one. */
  readonly adjustment = ContainerAdjustment.fromPartial({ hooks: {}, linux: {} });
  /** Limits of it, in our words. */
  resources: Resources = NO_LIMITS;
  readonly #owners: Owners;
  readonly #before: Resources | null;

  /** `before` are the limits it has without plugins. */
  constructor(container: Container, before: Resources | null, owners: Owners) {
    this.container = container;
    this.#before = before;
    this.#owners = owners;
  }

  /** Throws for what another plugin has set, and for what we cannot do. */
  apply(plugin: string, wanted: ContainerAdjustment): void {
    const linux = wanted.linux ?? LinuxContainerAdjustment.fromPartial({});
    refuseForeign(plugin, wanted, linux);
    this.#annotations(plugin, wanted.annotations);
    this.#mounts(plugin, wanted.mounts);
    this.#env(plugin, wanted.env);
    this.#args(plugin, wanted.args);
    this.#hooks(plugin, wanted.hooks);
    this.#devices(plugin, linux.devices);
    if (linux.resources !== undefined) this.#limits(plugin, linux.resources);
    this.#single(plugin, linux);
    for (const limit of wanted.rlimits) {
      this.#claim(plugin, Field.Rlimits, limit.type);
      this.adjustment.rlimits.push(limit);
      this.container.rlimits.push(limit);
    }
    for (const device of wanted.CDIDevices) {
      this.#claim(plugin, Field.CdiDevices, device.name);
      this.adjustment.CDIDevices.push(device);
    }
  }

  get #linux(): LinuxContainerAdjustment {
    return (this.adjustment.linux ??= LinuxContainerAdjustment.fromPartial({}));
  }

  #claim(plugin: string, field: Field, key = ''): void {
    this.#owners.claim(this.container.id, plugin, field, key);
  }

  #remove(plugin: string, field: Field, key: string): void {
    this.#owners.remove(this.container.id, plugin, field, key);
  }

  #annotations(plugin: string, wanted: ReadonlyMap<string, string>): void {
    const { annotations } = this.adjustment;
    for (const key of removed(wanted.keys())) {
      this.#remove(plugin, Field.Annotations, key);
      annotations.delete(key);
      annotations.set(`${REMOVAL}${key}`, '');
      this.container.annotations.delete(key);
    }
    for (const [key, value] of wanted) {
      if (key.startsWith(REMOVAL)) continue;
      this.#claim(plugin, Field.Annotations, key);
      annotations.set(key, value);
      this.container.annotations.set(key, value);
    }
  }

  #mounts(plugin: string, wanted: ContainerAdjustment['mounts']): void {
    const list = this.#list(plugin, Field.Mounts, wanted, 'destination');
    this.adjustment.mounts = list.merge(this.adjustment.mounts);
    this.container.mounts = list.replace(this.container.mounts);
  }

  #devices(plugin: string, wanted: LinuxContainerAdjustment['devices']): void {
    const list = this.#list(plugin, Field.Devices, wanted, 'path');
    this.#linux.devices = list.merge(this.#linux.devices);
    const { linux } = this.container;
    if (linux) linux.devices = list.replace(linux.devices);
  }

  #env(plugin: string, wanted: ContainerAdjustment['env']): void {
    const list = this.#list(plugin, Field.Env, wanted, 'key');
    this.adjustment.env = list.merge(this.adjustment.env);
    const before = this.container.env.map((entry) => {
      const at = entry.indexOf('=');
      return { key: entry.slice(0, at), value: entry.slice(at + 1) };
    });
    this.container.env = list.replace(before).map(({ key, value }) => `${key}=${value}`);
  }

  /** What they have in common: named things, of which a name with a dash goes. */
  #list<K extends string, T extends Record<K, string>>(
    plugin: string,
    field: Field,
    wanted: readonly T[],
    key: K,
  ) {
    const gone = wanted.filter((each) => each[key].startsWith(REMOVAL));
    const names = new Set(gone.map((each) => each[key].slice(REMOVAL.length)));
    const added = wanted.filter((each) => !gone.includes(each));
    for (const name of names) this.#remove(plugin, field, name);
    for (const each of added) this.#claim(plugin, field, each[key]);
    const set = new Set(added.map((each) => each[key]));
    return {
      merge: (before: readonly T[]): T[] => [
        ...before.filter((each) => !names.has(each[key])),
        ...gone,
        ...added,
      ],
      replace: (before: readonly T[]): T[] => [
        ...before.filter((each) => !names.has(each[key]) && !set.has(each[key])),
        ...added,
      ],
    };
  }

  #args(plugin: string, wanted: readonly string[]): void {
    if (wanted.length === 0) return;
    // An empty first one is the will to replace those of an earlier plugin.
    const replaces = wanted[0] === '';
    if (replaces) this.#remove(plugin, Field.Args, '');
    this.#claim(plugin, Field.Args);
    this.adjustment.args = wanted.slice(replaces ? 1 : 0);
    this.container.args = this.adjustment.args;
  }

  #hooks(plugin: string, wanted: Hooks | undefined): void {
    if (wanted === undefined) return;
    const kinds = ['prestart', 'createRuntime', 'poststart', 'poststop'] as const;
    const hooks = (this.adjustment.hooks ??= Hooks.fromPartial({}));
    const seen = (this.container.hooks ??= Hooks.fromPartial({}));
    if (kinds.every((kind) => wanted[kind].length === 0)) return;
    this.#owners.share(this.container.id, plugin, Field.OciHooks);
    for (const kind of kinds) {
      hooks[kind].push(...wanted[kind]);
      seen[kind].push(...wanted[kind]);
    }
  }

  #limits(plugin: string, wanted: LinuxResources): void {
    const { resources, claims } = readLimits(wanted, `NRI plugin ${plugin}`);
    for (const [field, key] of claims) this.#claim(plugin, field, key);
    this.resources = mergeResources(this.resources, resources);
    this.#linux.resources = toLinuxResources(this.resources);
    const { linux } = this.container;
    if (linux) linux.resources = toLinuxResources(mergeResources(this.#before, this.resources));
  }

  #single(plugin: string, wanted: LinuxContainerAdjustment): void {
    const { linux } = this.container;
    if (wanted.cgroupsPath !== '') {
      this.#claim(plugin, Field.CgroupsPath);
      this.#linux.cgroupsPath = wanted.cgroupsPath;
      if (linux) linux.cgroupsPath = wanted.cgroupsPath;
    }
    if (wanted.oomScoreAdj !== undefined) {
      this.#claim(plugin, Field.OomScoreAdj);
      this.#linux.oomScoreAdj = wanted.oomScoreAdj;
      if (linux) linux.oomScoreAdj = wanted.oomScoreAdj;
    }
    if (wanted.seccompPolicy !== undefined) {
      this.#claim(plugin, Field.SeccompPolicy);
      this.#linux.seccompPolicy = wanted.seccompPolicy;
      if (linux) linux.seccompPolicy = wanted.seccompPolicy;
    }
  }
}

function removed(names: Iterable<string>): string[] {
  return [...names]
    .filter((name) => name.startsWith(REMOVAL))
    .map((name) => name.slice(REMOVAL.length));
}

function refuseForeign(
  plugin: string,
  { hooks }: ContainerAdjustment,
  linux: LinuxContainerAdjustment,
): void {
  const foreign: [name: string, isSet: boolean][] = [
    // They run inside the container before its payload: the held init has no step for them.
    ['hooks.create_container', (hooks?.createContainer.length ?? 0) > 0],
    ['hooks.start_container', (hooks?.startContainer.length ?? 0) > 0],
    ['linux.io_priority', linux.ioPriority !== undefined],
    ['linux.namespaces', linux.namespaces.length > 0],
    ['linux.sysctl', linux.sysctl.size > 0],
    ['linux.net_devices', linux.netDevices.size > 0],
    ['linux.scheduler', linux.scheduler !== undefined],
    ['linux.rdt', linux.rdt !== undefined && !linux.rdt.remove],
    ['linux.memory_policy', linux.memoryPolicy !== undefined],
  ];
  for (const [name, set] of foreign) {
    if (set) throw unsupported(`NRI plugin ${plugin}`, name);
  }
}
