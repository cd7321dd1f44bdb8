/** A pod's /dev/shm: one tmpfs per pod, mounted where its containers can be given a clone of it. */
import { mkdir, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, wrap } from '../core/errors.js';
import type { SandboxId } from '../core/ids.js';
import { parseSandboxId } from '../core/ids.js';
import type { SharedMemory } from '../core/ports/storage.js';
import type { NativeAddon } from '../native/binding.js';

/** What docker, containerd and CRI-O give. */
const SIZE_BYTES = 64 << 20;

export class TmpfsSharedMemory implements SharedMemory {
  readonly #addon: NativeAddon;
  readonly #directory: string;

  constructor(options: { addon: NativeAddon; directory: string }) {
    this.#addon = options.addon;
    this.#directory = options.directory;
  }

  async mount(id: SandboxId, owner = { uid: 0, gid: 0 }): Promise<void> {
    const path = this.path(id);
    try {
      if (this.#addon.isMountPoint(path)) return;
      await mkdir(path, { recursive: true, mode: 0o700 });
      this.#addon.mountSharedMemory(path, SIZE_BYTES, owner.uid, owner.gid);
    } catch (error) {
      throw wrap(error, `cannot mount shared memory of sandbox ${id}`);
    }
  }

  path(id: SandboxId): string {
    return join(this.#directory, id);
  }

  async unmount(id: SandboxId): Promise<void> {
    try {
      while (this.#addon.unmount(this.path(id)));
      await rmdir(this.path(id));
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) {
        throw wrap(error, `cannot unmount shared memory of sandbox ${id}`);
      }
    }
  }

  async list(): Promise<SandboxId[]> {
    try {
      return (await readdir(this.#directory)).flatMap(sandboxIds);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw wrap(error, `cannot list shared memory in ${this.#directory}`);
    }
  }
}

/** Whatever else lies in the folder is not ours. */
function sandboxIds(name: string): SandboxId[] {
  try {
    return [parseSandboxId(name)];
  } catch {
    return [];
  }
}
