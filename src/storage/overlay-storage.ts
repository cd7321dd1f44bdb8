/** Root filesystems by overlayfs: image layers below, one writable folder per container above. */
import { chown, chmod, mkdir, readdir, realpath, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import { parseContainerId, type ContainerId } from '../core/ids.js';
import type { ImageRecord } from '../core/model.js';
import type {
  LayerDraft,
  LayerKey,
  LoadedLayers,
  OwnedFd,
  RootfsStorage,
  StorageDriver,
} from '../core/ports.js';
import type { NativeAddon } from '../native/binding.js';
import { mountpointOf } from '../util/mountinfo.js';
import { removeTree } from '../util/remove-tree.js';
import { OverlayLayers } from './overlay-layers.js';
import { UsageCache } from './usage-cache.js';

export interface OverlayStorageOptions {
  /** Folder of the writable layers; made when it is not there. */
  root: string;
  /** Folder of the image layers; made when it is not there. On the same file system. */
  layersRoot: string;
  addon: Pick<NativeAddon, 'mountOverlay' | 'TreeCounter'>;
}

/** A container has `<root>/<id>/fs`, its writable layer, and `<root>/<id>/work`, which is overlayfs's. */
export class OverlayStorage implements StorageDriver {
  readonly keyedBy = 'diff';
  readonly #root: string;
  readonly #layers: OverlayLayers;
  readonly #addon: Pick<NativeAddon, 'mountOverlay' | 'TreeCounter'>;
  readonly #mountpoint: string;
  readonly #usage: UsageCache;

  private constructor(options: OverlayStorageOptions, layers: OverlayLayers, mountpoint: string) {
    this.#root = options.root;
    this.#layers = layers;
    this.#addon = options.addon;
    this.#usage = new UsageCache(options.addon);
    this.#mountpoint = mountpoint;
  }

  /** Finishes removals that an earlier agent has begun. */
  static async open(options: OverlayStorageOptions): Promise<OverlayStorage> {
    const trash = join(options.root, TRASH);
    await mkdir(trash, { recursive: true, mode: 0o700 });
    for (const name of await readdir(trash)) await removeTree(join(trash, name));
    const layers = await OverlayLayers.open(options.layersRoot);
    return new OverlayStorage(options, layers, mountpointOf(await realpath(options.root)));
  }

  loadLayers(): Promise<LoadedLayers> {
    return this.#layers.loadLayers();
  }

  draftLayer(key: LayerKey): Promise<LayerDraft> {
    return this.#layers.draftLayer(key);
  }

  removeLayer(key: string): Promise<void> {
    return this.#layers.removeLayer(key);
  }

  async prepare(id: ContainerId, image: ImageRecord): Promise<void> {
    const folder = this.#folder(id);
    const owner = this.#layers.rootOwner(image.layers);
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
    const lower = this.#layers.lowerFolders(image.layers);
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
