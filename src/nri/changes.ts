/** Changes of containers that are there, as several plugins ask for them: each limit by one plugin at most. */
import { RuntimeError } from '../core/errors.js';
import type { Resources } from '../core/model.js';
import type { ContainerChanges, LimitChange } from '../core/ports/plugins.js';
import { mergeResources, NO_LIMITS } from '../core/resource-change.js';
import type { ContainerEviction, ContainerUpdate } from './gen/adjustment.js';
import { readLimits } from './limits.js';
import { Owners } from './owners.js';

export class Changes {
  readonly #owners: Owners;
  readonly #updates = new Map<string, LimitChange>();
  readonly #evictions = new Map<string, string>();

  constructor(owners: Owners = new Owners()) {
    this.#owners = owners;
  }

  add(
    plugin: string,
    updates: readonly ContainerUpdate[],
    evictions: readonly ContainerEviction[],
  ): void {
    for (const update of updates) this.#update(plugin, update);
    for (const { containerId, reason } of evictions) {
      if (!this.#evictions.has(containerId)) {
        this.#evictions.set(containerId, `NRI plugin ${plugin}: ${reason}`);
      }
    }
  }

  /** Takes out what is to be done to one of them. */
  take(id: string): Resources | null {
    const resources = this.#updates.get(id)?.resources ?? null;
    this.#updates.delete(id);
    return resources;
  }

  /** Of that one so far. */
  of(id: string): Resources | null {
    return this.#updates.get(id)?.resources ?? null;
  }

  result(): ContainerChanges {
    return {
      updates: [...this.#updates.values()],
      evictions: [...this.#evictions].map(([id, reason]) => ({ id, reason })),
    };
  }

  #update(plugin: string, { containerId: id, linux, ignoreFailure }: ContainerUpdate): void {
    if (linux?.resources === undefined) return;
    try {
      if (id === '') {
        throw new RuntimeError('invalid-argument', `NRI plugin ${plugin} names no container`);
      }
      const { resources, claims } = readLimits(linux.resources, `NRI plugin ${plugin}`);
      for (const [field, key] of claims) this.#owners.claim(id, plugin, field, key);
      const before = this.#updates.get(id);
      this.#updates.set(id, {
        id,
        resources: mergeResources(before?.resources ?? NO_LIMITS, resources),
        ignoreFailure: ignoreFailure && (before?.ignoreFailure ?? true),
      });
    } catch (error) {
      if (!ignoreFailure) throw error;
    }
  }
}
