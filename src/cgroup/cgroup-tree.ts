/** The part of the cgroup v2 hierarchy that pods live in: made, killed, removed and measured. */
import { readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import type { CgroupPlan, CgroupWrite } from '../core/model.js';
import type { CgroupChange, CgroupStats, CgroupTree } from '../core/ports/cgroup.js';
import type { CgroupSetting } from '../core/resources.js';
import type { CgroupSweeper, NativeAddon } from '../native/binding.js';
import { planChange, writeSetting } from './cgroup-change.js';
import { findCgroup2Mount } from './cgroup2-mount.js';
import { splitCgroupPath } from './cgroup-path.js';
import { readSweep } from './cgroup-stats.js';

const MAKE_ATTEMPTS = 5;
/** A killed process in an uninterruptible sleep stays; its cgroup cannot become empty. */
const EMPTY_DEADLINE_MS = 10_000;
/** The last process of a cgroup keeps it busy for a moment after it has gone from cgroup.events. */
const REMOVE_DEADLINE_MS = 2000;
const LONGEST_POLL_MS = 20;
/** A start takes 20 ms; a kubelet asks for a pod's first container soon after its sandbox. */
const MOVES_MS = 100;

export class Cgroup2Tree implements CgroupTree {
  /** Where the hierarchy is mounted. */
  readonly root: string;
  readonly controllers: ReadonlySet<string>;
  readonly #addon: NativeAddon;
  readonly #sweeper: CgroupSweeper;
  readonly #tokens = new Map<string, number>();
  readonly #names = new Map<number, string>();
  #nextToken = 0;

  constructor(options: { addon: NativeAddon; root?: string }) {
    this.root = options.root ?? mountedRoot();
    this.controllers = new Set(words(readFileSync(join(this.root, 'cgroup.controllers'), 'utf8')));
    this.#addon = options.addon;
    this.#sweeper = new options.addon.CgroupSweeper();
  }

  async make(path: string, settings: readonly CgroupSetting[] = []): Promise<void> {
    const parts = splitCgroupPath(path);
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#makeParts(parts);
        break;
      } catch (error) {
        // Somebody removed a level between our steps, as the kubelet does with empty pods.
        if (!hasCode(error, 'ENOENT', 'ENODEV') || attempt === MAKE_ATTEMPTS) {
          throw wrap(error, `cannot make cgroup ${path}`);
        }
      }
    }
    if (settings.length > 0) await this.configure(path, settings);
  }

  async #makeParts(parts: string[]): Promise<void> {
    let folder = this.root;
    for (const part of parts) {
      await this.#enableControllers(folder);
      folder = join(folder, part);
      try {
        await mkdir(folder);
      } catch (error) {
        if (!hasCode(error, 'EEXIST')) throw error;
      }
    }
  }

  /** Gives all usable controllers to the folders below this one. */
  async #enableControllers(folder: string): Promise<void> {
    if (this.controllers.size === 0) return;
    // A file of the kernel's memory: reading it waits for no disk.
    const control = join(folder, 'cgroup.subtree_control');
    const enabled = new Set(words(readFileSync(control, 'utf8')));
    const missing = [...this.controllers].filter((controller) => !enabled.has(controller));
    if (missing.length === 0) return;
    try {
      await writeFile(control, missing.map((controller) => `+${controller}`).join(' '));
    } catch (error) {
      if (hasCode(error, 'EBUSY')) {
        // "No internal processes" (cgroups(7)); only the real root may hold some.
        throw new RuntimeError(
          'failed-precondition',
          `cannot enable ${missing.join(', ')} below cgroup ${folder}: it holds processes; move them into a cgroup of their own`,
          error,
        );
      }
      throw error;
    }
  }

  async configure(path: string, settings: readonly CgroupSetting[]): Promise<void> {
    const folder = this.#folderBelowRoot(path);
    for (const setting of settings) await writeSetting(folder, path, setting);
  }

  plan(changes: readonly CgroupChange[]): Promise<CgroupPlan> {
    return planChange(changes, (path) => this.#folderBelowRoot(path));
  }

  async write(writes: readonly CgroupWrite[]): Promise<void> {
    for (const each of writes) {
      await writeSetting(this.#folderBelowRoot(each.path), each.path, each);
    }
  }

  async kill(path: string): Promise<void> {
    const folder = this.#folderBelowRoot(path);
    try {
      await writeFile(join(folder, 'cgroup.kill'), '1');
      await this.#untilEmpty(path, folder);
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENODEV')) throw wrap(error, `cannot kill cgroup ${path}`);
    }
  }

  async #untilEmpty(path: string, folder: string): Promise<void> {
    const events = join(folder, 'cgroup.events');
    const deadline = Date.now() + EMPTY_DEADLINE_MS;
    for (let pause = 0; isPopulated(await readFile(events, 'utf8')); pause = longer(pause)) {
      if (Date.now() > deadline) {
        throw new RuntimeError(
          'deadline-exceeded',
          `processes of cgroup ${path} did not end within ${EMPTY_DEADLINE_MS} ms of SIGKILL`,
        );
      }
      await delay(pause);
    }
  }

  async remove(path: string): Promise<void> {
    try {
      await removeTree(this.#folderBelowRoot(path), Date.now() + REMOVE_DEADLINE_MS);
    } catch (error) {
      throw wrap(
        error,
        `cannot remove cgroup ${path}`,
        hasCode(error, 'EBUSY') ? 'failed-precondition' : 'internal',
      );
    }
  }

  expectMoves(): Promise<void> {
    return this.#addon.expectCgroupMoves(this.root, MOVES_MS);
  }

  async children(path: string): Promise<string[]> {
    try {
      return await folders(join(this.root, ...splitCgroupPath(path)));
    } catch (error) {
      throw wrap(error, `cannot list cgroup ${path}`);
    }
  }

  /** Whether a process is in it or below; false when it is not there. */
  async isPopulated(path: string): Promise<boolean> {
    try {
      return isPopulated(
        await readFile(join(this.#folderBelowRoot(path), 'cgroup.events'), 'utf8'),
      );
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENODEV')) return false;
      throw wrap(error, `cannot read cgroup ${path}`);
    }
  }

  watch(name: string, path: string, options = { countProcesses: false }): void {
    const folder = this.#folderBelowRoot(path);
    this.unwatch(name);
    const token = this.#nextToken;
    this.#nextToken += 1;
    try {
      this.#sweeper.add(token, folder, options.countProcesses);
    } catch (error) {
      // Removed already: it has no figures any more.
      if (hasCode(error, 'ENOENT')) return;
      throw wrap(error, `cannot watch cgroup ${path}`);
    }
    this.#tokens.set(name, token);
    this.#names.set(token, name);
  }

  unwatch(name: string): void {
    const token = this.#tokens.get(name);
    if (token === undefined) return;
    this.#tokens.delete(name);
    this.#names.delete(token);
    this.#sweeper.remove(token);
  }

  async stats(names: Iterable<string>): Promise<ReadonlyMap<string, CgroupStats>> {
    const tokens: number[] = [];
    for (const name of names) {
      const token = this.#tokens.get(name);
      if (token !== undefined) tokens.push(token);
    }
    const rows = await this.#sweeper.sweep(Float64Array.from(tokens));
    return readSweep(rows, (token) => this.#names.get(token));
  }

  /** Idempotent. Closes what `stats` reads from. */
  close(): void {
    this.#sweeper.close();
  }

  #folderBelowRoot(path: string): string {
    const parts = splitCgroupPath(path);
    if (parts.length === 0) {
      throw new RuntimeError('invalid-argument', 'cgroup path / names the whole host');
    }
    return join(this.root, ...parts);
  }
}

function mountedRoot(): string {
  const root = findCgroup2Mount(readFileSync('/proc/self/mountinfo', 'utf8'));
  if (root === undefined) {
    throw new RuntimeError(
      'failed-precondition',
      'no cgroup v2 hierarchy is mounted: boot with systemd.unified_cgroup_hierarchy=1',
    );
  }
  return root;
}

async function removeTree(folder: string, deadline: number): Promise<void> {
  for (let pause = 0; ; pause = longer(pause)) {
    for (const child of await folders(folder)) await removeTree(join(folder, child), deadline);
    try {
      await rmdir(folder);
      return;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return;
      if (!hasCode(error, 'EBUSY') || Date.now() > deadline) throw error;
    }
    await delay(pause);
  }
}

async function folders(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

function isPopulated(events: string): boolean {
  return /^populated 1$/m.test(events);
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

/** 0, 1, 2, 4, …: the common case is over at once. */
function longer(pause: number): number {
  return Math.min(pause === 0 ? 1 : pause * 2, LONGEST_POLL_MS);
}
