/** Root filesystems by overlayfs: image layers below, one writable folder per container above. */
import { chown, chmod, mkdir, readdir, realpath, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import { parseContainerId, type ContainerId } from '../core/ids.js';
import type { ImageRecord } from '../core/model.js';
import type { OwnedFd } from '../core/ports/network.js';
import type {
  LayerDraft,
  LayerKey,
  LayerUpkeep,
  LoadedLayers,
  RootfsOptions,
  RootfsStorage,
  StorageDriver,
} from '../core/ports/storage.js';
import type { NativeAddon } from '../native/binding.js';
import { filesystemOf } from '../util/mountinfo.js';
import { OverlayLayers } from './overlay-layers.js';
import { probeOverlay } from './overlay-probe.js';
import { ProjectQuotas, type QuotaAddon } from './project-quotas.js';
import { UsageCache } from './usage-cache.js';

export interface OverlayStorageOptions {
  /** Folder of the writable layers; made when it is not there. */
  root: string;
  /** Folder of the image layers; made when it is not there. On the same file system. */
  layersRoot: string;
  addon: OverlayAddon;
  /** What each container may write; 0 for no limit, else the file system must have project quotas. */
  sizeLimitBytes?: number;
}

type OverlayAddon = Pick<
  NativeAddon,
  'mountOverlay' | 'mountVolume' | 'mappedOwner' | 'TreeCounter' | 'treeListing' | 'removeTree'
> &
  QuotaAddon;

/**
 * A container has `<root>/<id>/fs`, its writable layer, and `<root>/<id>/work`, which is overlayfs's.
 * Where the file system has project quotas, `<root>/<id>` and all below is one project.
 */
export class OverlayStorage implements StorageDriver {
  readonly keyedBy = 'diff';
  readonly #root: string;
  readonly #layers: OverlayLayers;
  readonly #addon: OverlayAddon;
  readonly #mountpoint: string;
  readonly #quotas: ProjectQuotas | undefined;
  /** Projects of the folders that were asked for; undefined for one that has none. */
  readonly #projects = new Map<ContainerId, Promise<number | undefined>>();
  readonly #usage: UsageCache;

  private constructor(
    options: OverlayStorageOptions,
    layers: OverlayLayers,
    mountpoint: string,
    quotas: ProjectQuotas | undefined,
  ) {
    this.#root = options.root;
    this.#layers = layers;
    this.#addon = options.addon;
    this.#usage = new UsageCache(options.addon);
    this.#mountpoint = mountpoint;
    this.#quotas = quotas;
  }

  /**
   * Finishes removals that an earlier agent has begun. An error where overlayfs cannot work, or a limit
   * cannot be kept.
   */
  static async open(options: OverlayStorageOptions): Promise<OverlayStorage> {
    const { root, addon, sizeLimitBytes: limitBytes = 0 } = options;
    const trash = join(root, TRASH);
    await mkdir(trash, { recursive: true, mode: 0o700 });
    await mkdir(join(root, EMPTY), { recursive: true, mode: 0o755 });
    const filesystem = filesystemOf(await realpath(root));
    await probeOverlay({ addon, folder: trash, filesystem });
    const quotas = await ProjectQuotas.open({ addon, root, filesystem, limitBytes });
    for (const name of await readdir(trash)) await destroy(addon, join(trash, name), quotas);
    await quotas?.sweep();
    const layers = await OverlayLayers.open(options.layersRoot, addon);
    return new OverlayStorage(options, layers, filesystem.mountpoint, quotas);
  }

  get upkeep(): LayerUpkeep {
    return this.#layers.upkeep;
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

  async prepare(id: ContainerId, image: ImageRecord, options: RootfsOptions = {}): Promise<void> {
    const folder = this.#folder(id);
    // Missing layers are told now, not at the mount.
    this.#layers.lowerFolders(image.layers);
    const owner = this.#layers.rootOwner(image.layers);
    try {
      await mkdir(folder, { mode: 0o700 });
    } catch (error) {
      const kind = hasCode(error, 'EEXIST') ? 'already-exists' : 'internal';
      throw wrap(error, `cannot make the root filesystem of container ${id}`, kind);
    }
    try {
      // Before anything is in it: what is made in a project's folder belongs to the project.
      const project = await this.#quotas?.assign(folder);
      this.#projects.set(id, Promise.resolve(project));
      const files = join(folder, 'fs');
      for (const path of [files, join(folder, 'work'), join(folder, 'empty')]) await mkdir(path);
      // The merged root has owner and mode of the topmost folder, which is this one (overlayfs.rst).
      await chown(files, owner.uid, owner.gid);
      if (options.userNamespace !== undefined) {
        const mapped = await this.#addon.mappedOwner(files, options.userNamespace);
        await chown(files, mapped.uid, mapped.gid);
      }
      await chmod(files, owner.mode);
    } catch (error) {
      await this.remove(id);
      throw wrap(error, `cannot make the root filesystem of container ${id}`);
    }
  }

  async mount(
    id: ContainerId,
    image: ImageRecord,
    { userNamespace }: RootfsOptions = {},
  ): Promise<OwnedFd> {
    const folder = this.#folder(id);
    const lower = this.#layers.lowerFolders(image.layers);
    try {
      return await this.#addon.mountOverlay({
        // overlayfs wants at least one lower folder; an image may have no layer.
        lower: lower.length > 0 ? lower : [join(folder, 'empty')],
        upper: join(folder, 'fs'),
        work: join(folder, 'work'),
        ...(userNamespace !== undefined && { userNamespace }),
      });
    } catch (error) {
      throw wrap(error, `cannot mount the root filesystem of container ${id}`);
    }
  }

  async mountImage(
    image: ImageRecord,
    subPath: string,
    { userNamespace }: RootfsOptions = {},
  ): Promise<OwnedFd> {
    const empty = join(this.#root, EMPTY);
    try {
      return await this.#addon.mountVolume({
        // Not the layer's folder itself, even of one layer: whiteouts would show.
        lower:
          image.layers.length > 0 ? [...this.#layers.lowerFolders(image.layers), empty] : [empty],
        place: empty,
        subPath,
        ...(userNamespace !== undefined && { userNamespace }),
      });
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) throw error;
      throw new RuntimeError(
        'not-found',
        `${JSON.stringify(subPath.slice(0, 300))} is no folder in image ${image.id}`,
        error,
      );
    }
  }

  async usage(id: ContainerId): ReturnType<RootfsStorage['usage']> {
    const project = this.#quotas && (await this.#project(id, this.#quotas));
    if (this.#quotas && project !== undefined) {
      const { usedBytes, inodesUsed } = await this.#quotas.usage(project);
      return { usedBytes, inodesUsed, timestamp: BigInt(Date.now()) * 1_000_000n };
    }
    return this.#usage.get(id, join(this.#folder(id), 'fs'));
  }

  async remove(id: ContainerId): Promise<void> {
    this.#usage.forget(id);
    const grave = join(this.#root, TRASH, id);
    try {
      this.#projects.delete(id);
      await this.#bury(id, grave);
      await destroy(this.#addon, grave, this.#quotas);
    } catch (error) {
      throw wrap(error, `cannot remove the root filesystem of container ${id}`);
    }
  }

  async list(): Promise<ContainerId[]> {
    const names = await readdir(this.#root);
    return names.filter((name) => name !== TRASH && name !== EMPTY).flatMap(containerIds);
  }

  mountpoint(): string {
    return this.#mountpoint;
  }

  /** Gone at once, whatever happens to the removal of what may be a million files. */
  async #bury(id: ContainerId, grave: string): Promise<void> {
    const folder = this.#folder(id);
    try {
      await rename(folder, grave);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return;
      if (!hasCode(error, 'EXDEV')) throw error;
      // The administrator has made a project of what is above: nothing is moved into it from another.
      await destroy(this.#addon, folder, this.#quotas);
    }
  }

  #project(id: ContainerId, quotas: ProjectQuotas): Promise<number | undefined> {
    const known = this.#projects.get(id);
    if (known) return known;
    const asked = quotas.projectOf(this.#folder(id)).catch((error: unknown) => {
      this.#projects.delete(id);
      // A folder that is gone has none.
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    });
    this.#projects.set(id, asked);
    return asked;
  }

  #folder(id: ContainerId): string {
    return join(this.#root, id);
  }
}

const TRASH = '.trash';
/** Where overlayfs wants a folder and there is none. */
const EMPTY = '.empty';

/** A container's folder with all that is in it, and the limit of its project. */
async function destroy(
  addon: Pick<NativeAddon, 'removeTree'>,
  folder: string,
  quotas: ProjectQuotas | undefined,
): Promise<void> {
  let project;
  try {
    project = await quotas?.projectOf(folder);
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error;
  }
  await addon.removeTree(folder);
  if (project !== undefined) await quotas?.release(project);
}

/** The id a folder is of; none for a folder that is not ours. */
function containerIds(name: string): ContainerId[] {
  try {
    return [parseContainerId(name)];
  } catch (error) {
    if (error instanceof RuntimeError) return [];
    throw error;
  }
}
