/** Root filesystems by overlayfs: image layers below, one writable folder per container above. */
import { chown, chmod, mkdir, readdir, readFile, realpath, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import { parseContainerId, type ContainerId } from '../core/ids.js';
import {
  layerFiles,
  layerRecordFile,
  parseLayerRecord,
  type LayerRecord,
} from '../core/layer-record.js';
import type { ImageRecord } from '../core/model.js';
import type { OwnedFd, RootfsStorage } from '../core/ports.js';
import type { NativeAddon } from '../native/binding.js';
import { mountpointOf } from '../util/mountinfo.js';
import { removeTree } from '../util/remove-tree.js';
import { UsageCache } from './usage-cache.js';

export interface OverlayStorageOptions {
  /** Folder of the writable layers; made when it is not there. */
  root: string;
  /** Folder of the image store. */
  imagesRoot: string;
  addon: Pick<NativeAddon, 'mountOverlay' | 'TreeCounter'>;
}

/** A container has `<root>/<id>/fs`, its writable layer, and `<root>/<id>/work`, which is overlayfs's. */
export class OverlayStorage implements RootfsStorage {
  readonly #root: string;
  readonly #imagesRoot: string;
  readonly #addon: Pick<NativeAddon, 'mountOverlay' | 'TreeCounter'>;
  readonly #mountpoint: string;
  readonly #usage: UsageCache;

  private constructor(options: OverlayStorageOptions, mountpoint: string) {
    this.#root = options.root;
    this.#imagesRoot = options.imagesRoot;
    this.#addon = options.addon;
    this.#usage = new UsageCache(options.addon);
    this.#mountpoint = mountpoint;
  }

  /** Finishes removals that an earlier agent has begun. */
  static async open(options: OverlayStorageOptions): Promise<OverlayStorage> {
    const trash = join(options.root, TRASH);
    await mkdir(trash, { recursive: true, mode: 0o700 });
    for (const name of await readdir(trash)) await removeTree(join(trash, name));
    return new OverlayStorage(options, mountpointOf(await realpath(options.root)));
  }

  async prepare(id: ContainerId, image: ImageRecord): Promise<void> {
    const folder = this.#folder(id);
    const owner = await this.#rootOwner(image);
    try {
      await mkdir(folder, { mode: 0o700 });
    } catch (error) {
      const kind = hasCode(error, 'EEXIST') ? 'already-exists' : 'internal';
      throw wrap(error, `cannot make the root filesystem of container ${id}`, kind);
    }
    try {
      const files = join(folder, 'fs');
      for (const path of [files, join(folder, 'work'), join(folder, 'empty')]) await mkdir(path);
      // The merged root has owner and mode of the topmost folder, which is this one (overlayfs.rst).
      await chown(files, owner.uid, owner.gid);
      await chmod(files, owner.mode);
    } catch (error) {
      await removeTree(folder);
      throw wrap(error, `cannot make the root filesystem of container ${id}`);
    }
  }

  async mount(id: ContainerId, image: ImageRecord): Promise<OwnedFd> {
    const folder = this.#folder(id);
    const lower = await this.#lowerFolders(image);
    try {
      return await this.#addon.mountOverlay({
        // overlayfs wants at least one lower folder; an image may have no layer.
        lower: lower.length > 0 ? lower : [join(folder, 'empty')],
        upper: join(folder, 'fs'),
        work: join(folder, 'work'),
      });
    } catch (error) {
      throw wrap(error, `cannot mount the root filesystem of container ${id}`);
    }
  }

  usage(id: ContainerId): ReturnType<RootfsStorage['usage']> {
    return this.#usage.get(id, join(this.#folder(id), 'fs'));
  }

  async remove(id: ContainerId): Promise<void> {
    this.#usage.forget(id);
    const grave = join(this.#root, TRASH, id);
    try {
      // Gone at once, whatever happens to the removal of what may be a million files.
      await rename(this.#folder(id), grave);
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) {
        throw wrap(error, `cannot remove the root filesystem of container ${id}`);
      }
    }
    await removeTree(grave);
  }

  async list(): Promise<ContainerId[]> {
    const names = await readdir(this.#root);
    return names.filter((name) => name !== TRASH).flatMap(containerIds);
  }

  mountpoint(): string {
    return this.#mountpoint;
  }

  #folder(id: ContainerId): string {
    return join(this.#root, id);
  }

  /**
   * Top layer first, each once: overlayfs refuses a folder that is there twice (ELOOP), and under
   * itself a layer adds nothing. Nothing below a layer that hides everything below it.
   */
  async #lowerFolders(image: ImageRecord): Promise<string[]> {
    const folders = new Set<string>();
    for (const diffId of image.layers.toReversed()) {
      folders.add(layerFiles(this.#imagesRoot, diffId));
      if ((await this.#layer(diffId)).rootOpaque) break;
    }
    return [...folders];
  }

  async #rootOwner(image: ImageRecord): Promise<{ mode: number; uid: number; gid: number }> {
    for (const diffId of image.layers.toReversed()) {
      const { rootOwner } = await this.#layer(diffId);
      if (rootOwner) return rootOwner;
    }
    return { mode: 0o755, uid: 0, gid: 0 };
  }

  async #layer(diffId: string): Promise<LayerRecord> {
    const path = layerRecordFile(this.#imagesRoot, diffId);
    try {
      return parseLayerRecord(await readFile(path, 'utf8'), path);
    } catch (error) {
      const kind = hasCode(error, 'ENOENT') ? 'not-found' : 'data-loss';
      throw wrap(error, `layer ${diffId} cannot be used, pull its image again`, kind);
    }
  }
}

const TRASH = '.trash';

/** The id a folder is of; none for a folder that is not ours. */
function containerIds(name: string): ContainerId[] {
  try {
    return [parseContainerId(name)];
  } catch (error) {
    if (error instanceof RuntimeError) return [];
    throw error;
  }
}
