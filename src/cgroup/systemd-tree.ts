/**
 * The cgroup tree of a host whose slices and scopes are systemd's: those it is asked to make and end,
 * and what lies inside our scopes is written as everywhere else. Paths tell which is which, so that
 * pods made under the other driver go on.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { hasCode, RuntimeError } from '../core/errors.js';
import type { CgroupPlan, CgroupWrite } from '../core/model.js';
import type { CgroupChange, CgroupStats, CgroupTree } from '../core/ports/cgroup.js';
import type { CgroupSetting } from '../core/resources.js';
import { KeyedMutex } from '../util/keyed-mutex.js';
import type { Cgroup2Tree } from './cgroup-tree.js';
import { HOLD } from './scope-holder.js';
import { scopeProperties } from './scope-properties.js';
import type { SystemdUnits } from './systemd-units.js';
import { readUnitPath, type ScopePath } from './unit-path.js';

/** For a scope on its way out to be gone. */
const GOING_MS = 2000;
const POLL_MS = 5;

export class SystemdCgroupTree implements CgroupTree {
  readonly #tree: Cgroup2Tree;
  readonly #units: SystemdUnits;
  /** By name of the unit. */
  readonly #locks = new KeyedMutex();

  constructor(tree: Cgroup2Tree, units: SystemdUnits) {
    this.#tree = tree;
    this.#units = units;
  }

  get controllers(): ReadonlySet<string> {
    return this.#tree.controllers;
  }

  async make(path: string, settings: readonly CgroupSetting[] = []): Promise<void> {
    const unit = readUnitPath(path);
    if (unit?.kind === 'slice') {
      await this.#locks.run(unit.slice, () => this.#startSlice(path, unit.slice));
      return;
    }
    if (unit?.kind === 'scope') {
      const { scope, slice } = unit;
      const properties = scopeProperties(settings);
      await this.#locks.run(scope.name, () => this.#startScope(scope, slice, properties));
    }
    await this.#tree.make(path, settings);
  }

  async #startSlice(path: string, slice: string): Promise<void> {
    if (!(await this.#exists(path))) await this.#units.startSlice(slice);
  }

  async #startScope(scope: ScopePath, slice: string, properties: string[]): Promise<void> {
    const deadline = Date.now() + GOING_MS;
    while (await this.#exists(scope.path)) {
      if (await this.#tree.isPopulated(`${scope.path}/${HOLD}`)) return;
      // Its holder was killed: it goes, unless others run in it.
      if (Date.now() > deadline) {
        await this.#units.holdAgain(this.#folder(scope.path));
        return;
      }
      await delay(POLL_MS);
    }
    const folder = this.#folder(scope.path);
    await this.#units.startScope({ name: scope.name, slice, folder, properties });
  }

  async configure(path: string, settings: readonly CgroupSetting[]): Promise<void> {
    await this.#setProperties(path, settings);
    await this.#tree.configure(path, settings);
  }

  async #setProperties(path: string, settings: readonly CgroupSetting[]): Promise<void> {
    const unit = readUnitPath(path);
    if (unit?.kind !== 'scope' || !unit.scope.whole) return;
    const properties = scopeProperties(settings);
    if (properties.length > 0) await this.#units.setProperties(unit.scope.name, properties);
  }

  plan(changes: readonly CgroupChange[]): Promise<CgroupPlan> {
    return this.#tree.plan(changes);
  }

  async write(writes: readonly CgroupWrite[]): Promise<void> {
    for (const each of writes) {
      await this.#setProperties(each.path, [each]);
      await this.#tree.write([each]);
    }
  }

  kill(path: string): Promise<void> {
    return this.#tree.kill(path);
  }

  async remove(path: string): Promise<void> {
    const unit = readUnitPath(path);
    if (unit?.kind === 'slice') await this.#stopSlice(path, unit.slice);
    else if (unit?.kind === 'scope' && unit.scope.whole) await this.#endScope(unit.scope);
    else await this.#tree.remove(path);
  }

  /**
   * Everything but the holder has ended. The scope's own folder is systemd's to remove, which it does
   * as soon as it is empty: without it an active scope is made anew, and then never becomes empty.
   */
  async #endScope({ name, path }: ScopePath): Promise<void> {
    await this.#locks.run(name, async () => {
      for (const child of await this.#tree.children(path)) {
        if (child !== HOLD) await this.#tree.remove(`${path}/${child}`);
      }
      await this.#tree.kill(path);
      const deadline = Date.now() + GOING_MS;
      while (await this.#exists(path)) {
        if (Date.now() > deadline) {
          await this.#units.stop(name);
          await this.#tree.remove(path);
          return;
        }
        await delay(POLL_MS);
      }
    });
  }

  /** One in which others have put something of theirs stays. */
  async #stopSlice(path: string, slice: string): Promise<void> {
    if (!(await this.#exists(path))) return;
    for (const child of await this.#tree.children(path)) {
      if (readUnitPath(`${path}/${child}`) !== undefined) await this.remove(`${path}/${child}`);
    }
    await this.#locks.run(slice, async () => {
      if (await this.#tree.isPopulated(path)) return;
      await this.#units.stop(slice);
      await this.#tree.remove(path);
    });
  }

  expectMoves(): Promise<void> {
    return this.#tree.expectMoves();
  }

  children(path: string): Promise<string[]> {
    return this.#tree.children(path);
  }

  watch(name: string, path: string, options?: { countProcesses: boolean }): void {
    this.#tree.watch(name, path, options);
  }

  unwatch(name: string): void {
    this.#tree.unwatch(name);
  }

  stats(names: Iterable<string>): Promise<ReadonlyMap<string, CgroupStats>> {
    return this.#tree.stats(names);
  }

  #folder(path: string): string {
    return join(this.#tree.root, path);
  }

  async #exists(path: string): Promise<boolean> {
    try {
      await stat(this.#folder(path));
      return true;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return false;
      throw error;
    }
  }
}

/** Throws where the driver cannot work. */
export function requireSystemdDriver(host: { isSystemd: boolean; cgroupRoot: string }): void {
  if (!host.isSystemd) {
    throw new RuntimeError(
      'failed-precondition',
      'cgroup.driver is "systemd", but systemd does not run this host: set it to "cgroupfs", and the kubelet\'s cgroupDriver too',
    );
  }
  if (host.cgroupRoot !== '/sys/fs/cgroup') {
    throw new RuntimeError(
      'failed-precondition',
      `cgroup.driver is "systemd", but cgroup v2 is mounted at ${host.cgroupRoot} beside version 1: boot with systemd.unified_cgroup_hierarchy=1, or set it to "cgroupfs"`,
    );
  }
}
