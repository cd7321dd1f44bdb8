/** The files of artifacts as volumes: a folder for each, made of links to its blobs when first wanted. */
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hexOf } from '../../core/digest.js';
import { hasCode, RuntimeError, wrap } from '../../core/errors.js';
import type { ImageId } from '../../core/ids.js';
import type { ArtifactFile } from '../../core/model.js';
import type { OwnedFd } from '../../core/ports/network.js';
import { syncFolder } from '../../util/atomic-file.js';
import { removeTree } from '../../util/remove-tree.js';
import type { BlobStore } from './blob-store.js';

/** As NativeAddon.mountVolume. */
export type MountVolume = (options: {
  lower: string[];
  place: string;
  subPath: string;
}) => Promise<OwnedFd>;

export class ArtifactFolders {
  readonly #root: string;
  readonly #temporary: string;
  readonly #blobs: BlobStore;
  readonly #mountVolume: MountVolume;

  /** `temporary` is on the same file system, and emptied by its owner at the start. */
  constructor(root: string, temporary: string, blobs: BlobStore, mountVolume: MountVolume) {
    this.#root = root;
    this.#temporary = temporary;
    this.#blobs = blobs;
    this.#mountVolume = mountVolume;
  }

  async mount(id: ImageId, files: readonly ArtifactFile[], subPath: string): Promise<OwnedFd> {
    const folder = join(this.#root, hexOf(id));
    try {
      await this.#make(folder, files);
      return await this.#mountVolume({ lower: [folder], place: folder, subPath });
    } catch (error) {
      if (subPath !== '' && hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) {
        throw new RuntimeError(
          'not-found',
          `${JSON.stringify(subPath.slice(0, 300))} is no folder in artifact ${id}`,
          error,
        );
      }
      throw wrap(error, `cannot show the files of artifact ${id}`);
    }
  }

  /** Removes the folders of all others. */
  async collect(needed: ReadonlySet<ImageId>): Promise<void> {
    for (const name of await this.#list()) {
      if (needed.has(`sha256:${name}` as ImageId)) continue;
      const grave = join(this.#temporary, `artifact-${randomUUID()}`);
      await rename(join(this.#root, name), grave);
      await removeTree(grave);
    }
  }

  /** Appears by a rename, whole and synced; what is there stays. */
  async #make(folder: string, files: readonly ArtifactFile[]): Promise<void> {
    if ((await this.#list()).includes(folder.slice(this.#root.length + 1))) return;
    const draft = join(this.#temporary, `artifact-${randomUUID()}`);
    const folders = new Set([draft]);
    try {
      await makeFolder(draft);
      for (const { path, digest } of files) {
        const parts = path.split('/').slice(0, -1);
        for (const index of parts.keys()) {
          const parent = join(draft, ...parts.slice(0, index + 1));
          if (!folders.has(parent)) await makeFolder(parent);
          folders.add(parent);
        }
        const file = join(draft, path);
        await this.#blobs.link(digest, file);
        // A blob may be read by whoever is let in to it: its own folder lets in nobody.
        await chmod(file, 0o444);
      }
      for (const each of folders) await syncFolder(each);
      await mkdir(this.#root, { recursive: true, mode: 0o700 });
      await rename(draft, folder);
      for (const each of [this.#root, dirname(this.#root)]) await syncFolder(each);
    } catch (error) {
      await removeTree(draft);
      // Somebody else was a moment ahead: what lies there is whole.
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error;
    }
  }

  async #list(): Promise<string[]> {
    try {
      return await readdir(this.#root);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw error;
    }
  }
}

/** For every user of a container, whatever the agent's umask is. */
async function makeFolder(path: string): Promise<void> {
  await mkdir(path);
  await chmod(path, 0o755);
}
