/** Where the files of an object lie: persistent ones below `root`, volatile ones below `state`. */
import { chmod, chown, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, wrap } from '../core/errors.js';
import type { ContainerId, SandboxId } from '../core/ids.js';
import type { ObjectFolders } from '../core/ports/state.js';

export class FileObjectFolders implements ObjectFolders {
  readonly #root: string;
  readonly #state: string;

  constructor(folders: { root: string; state: string }) {
    this.#root = folders.root;
    this.#state = folders.state;
  }

  containerDirectory(id: ContainerId): string {
    return join(this.#root, 'containers', id);
  }

  containerRunDirectory(id: ContainerId): string {
    return join(this.#state, 'containers', id);
  }

  async makeContainer(id: ContainerId): Promise<void> {
    try {
      for (const path of [this.containerDirectory(id), this.containerRunDirectory(id)]) {
        await mkdir(path, { recursive: true, mode: 0o700 });
      }
    } catch (error) {
      throw wrap(error, `cannot make the folders of container ${id}`);
    }
  }

  async writeContainerFile(id: ContainerId, name: string, content: Uint8Array): Promise<void> {
    try {
      await writeFile(join(this.containerDirectory(id), name), content, { mode: 0o600 });
    } catch (error) {
      throw wrap(error, `cannot write ${name} of container ${id}`);
    }
  }

  async readContainerFile(id: ContainerId, name: string): Promise<Uint8Array> {
    try {
      return await readFile(join(this.containerDirectory(id), name));
    } catch (error) {
      throw wrap(error, `cannot read ${name} of container ${id}`);
    }
  }

  async removeContainerRun(id: ContainerId): Promise<void> {
    try {
      await rm(this.containerRunDirectory(id), { recursive: true, force: true });
    } catch (error) {
      throw wrap(error, `cannot remove the volatile folder of container ${id}`);
    }
  }

  async writeSandboxFile(
    id: SandboxId,
    name: string,
    content: string,
    owner?: { uid: number; gid: number },
  ): Promise<string> {
    const path = this.sandboxFile(id, name);
    try {
      await mkdir(this.#sandboxDirectory(id), { recursive: true, mode: 0o700 });
      // Volatile like the pod itself, so not synced. Bind-mounted into containers, whose users are
      // not root: readable by all, in a private folder.
      await writeFile(path, content);
      // Not by the mode of creation: a unit's UMask would take it away again.
      await chmod(path, 0o644);
      if (owner) await chown(path, owner.uid, owner.gid);
    } catch (error) {
      throw wrap(error, `cannot write ${name} of sandbox ${id}`);
    }
    return path;
  }

  sandboxFile(id: SandboxId, name: string): string {
    return join(this.#sandboxDirectory(id), name);
  }

  async sandboxFiles(id: SandboxId): Promise<string[]> {
    try {
      return await readdir(this.#sandboxDirectory(id));
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw wrap(error, `cannot list the files of sandbox ${id}`);
    }
  }

  async removeSandboxFiles(id: SandboxId): Promise<void> {
    try {
      await rm(this.#sandboxDirectory(id), { recursive: true, force: true });
    } catch (error) {
      throw wrap(error, `cannot remove the files of sandbox ${id}`);
    }
  }

  #sandboxDirectory(id: SandboxId): string {
    return join(this.#state, 'sandboxes', id);
  }
}
