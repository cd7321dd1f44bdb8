/** Unpacked layers as folders that overlayfs takes for lower ones. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  constants,
  mkdir,
  mkdtemp,
  open,
  readdir,
  rename,
  type FileHandle,
} from 'node:fs/promises';
import { join } from 'node:path';
import { hexOf } from '../core/digest.js';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import type {
  LayerDraft,
  LayerKey,
  LayerStorage,
  LayerUpkeep,
  LoadedLayers,
  StoredLayer,
  UnpackReport,
} from '../core/ports/storage.js';
import { syncFolder, writeFileAtomic } from '../util/atomic-file.js';
import type { NativeAddon } from '../native/binding.js';
import { Limit } from '../util/limit.js';
import { parseLayerRecord, type LayerRecord } from './overlay-layer-record.js';
import { OverlayLayerUpkeep, ownFiles, RETIRED } from './overlay-layer-upkeep.js';

const RECORD = 'layer.json';
const FILES = 'fs';
/** Drafts, and layers on their way out: emptied at the start. */
const TEMPORARY = '.tmp';
/** An image of many layers goes at once, each with a thread. */
const MOST_REMOVALS = 4;

type LayersAddon = Pick<NativeAddon, 'treeListing' | 'removeTree'>;

/**
 * `<root>/<hex of diff_id>/` holds `fs/`, the layer's files as overlayfs wants them, and `layer.json`.
 * The folder appears by a rename, complete.
 */
export class OverlayLayers implements LayerStorage {
  readonly keyedBy = 'diff';
  readonly upkeep: LayerUpkeep;
  readonly #root: string;
  readonly #records = new Map<string, LayerRecord>();
  readonly #remove: (path: string) => Promise<void>;

  private constructor(root: string, addon: LayersAddon) {
    this.#root = root;
    this.#remove = atMostSome((path) => addon.removeTree(path));
    this.upkeep = new OverlayLayerUpkeep(root, this.#records, addon);
  }

  /** Makes the folder when it is not there, and removes what an earlier agent has left half done. */
  static async open(root: string, addon: LayersAddon): Promise<OverlayLayers> {
    const temporary = join(root, TEMPORARY);
    await mkdir(temporary, { recursive: true, mode: 0o700 });
    for (const name of await readdir(temporary)) await addon.removeTree(join(temporary, name));
    return new OverlayLayers(root, addon);
  }

  async loadLayers(): Promise<LoadedLayers> {
    const newer: LoadedLayers['newer'] = new Map();
    const damaged = new Map<string, string>();
    this.#records.clear();
    for (const hex of await readdir(this.#root)) {
      if (hex === TEMPORARY || hex === RETIRED) continue;
      const diffId = `sha256:${hex}`;
      const path = join(this.#root, hex, RECORD);
      try {
        // Not awaited one by one: of a thousand layers that would take a tenth of a second.
        this.#records.set(diffId, parseLayerRecord(readFileSync(path, 'utf8'), path));
      } catch (error) {
        if (error instanceof RuntimeError && error.kind === 'failed-precondition')
          newer.set(diffId, error);
        else damaged.set(diffId, error instanceof Error ? error.message : String(error));
      }
    }
    return { layers: [...this.#records.values()].map(toStored), newer, damaged };
  }

  async draftLayer({ diffId }: LayerKey): Promise<LayerDraft> {
    const folder = await mkdtemp(join(this.#root, TEMPORARY, 'layer-'));
    let target: FileHandle | undefined;
    try {
      const files = join(folder, FILES);
      await mkdir(files, { mode: 0o755 });
      target = await open(files, constants.O_RDONLY | constants.O_DIRECTORY);
      // The agent's umask would otherwise decide who may enter a container's root folder.
      await target.chmod(0o755);
    } catch (error) {
      await target?.close();
      await this.#remove(folder);
      throw wrap(error, `cannot make a folder for layer ${diffId}`);
    }
    const opened = target;
    return {
      targetFd: opened.fd,
      mode: 'overlay',
      commit: async (unpacked) => {
        await opened.close();
        return this.#commit(folder, diffId, unpacked);
      },
      discard: async () => {
        await opened.close();
        await this.#remove(folder);
      },
    };
  }

  /** Out of `<root>` by a rename, and only then piece by piece. */
  async removeLayer(key: string): Promise<void> {
    // A name of its own: an earlier removal that failed halfway may still lie there.
    const grave = join(this.#root, TEMPORARY, `removed-${hexOf(key)}-${randomUUID()}`);
    try {
      await rename(this.#folder(key), grave);
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw wrap(error, `cannot remove layer ${key}`);
    }
    this.#records.delete(key);
    await this.#remove(grave);
  }

  /**
   * Folders of these layers, top layer first, each once: overlayfs refuses a folder that is there
   * twice (ELOOP), and under itself a layer adds nothing. Nothing below a layer that hides
   * everything below it.
   */
  lowerFolders(diffIds: readonly string[]): string[] {
    const folders = new Set<string>();
    for (const diffId of diffIds.toReversed()) {
      const { rootOpaque } = this.#record(diffId);
      folders.add(join(this.#folder(diffId), FILES));
      if (rootOpaque) break;
    }
    return [...folders];
  }

  /** Owner and mode of the merged root folder. */
  rootOwner(diffIds: readonly string[]): { mode: number; uid: number; gid: number } {
    for (const diffId of diffIds.toReversed()) {
      const { rootOwner } = this.#record(diffId);
      if (rootOwner) return rootOwner;
    }
    return { mode: 0o755, uid: 0, gid: 0 };
  }

  async #commit(folder: string, diffId: string, unpacked: UnpackReport): Promise<StoredLayer> {
    const first = this.#records.get(diffId);
    if (first) {
      await this.#remove(folder);
      return toStored(first);
    }
    const record: LayerRecord = { version: 1, ...unpacked, diffId };
    await writeFileAtomic(join(folder, RECORD), JSON.stringify(record));
    try {
      await rename(folder, this.#folder(diffId));
    } catch (error) {
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error;
      if (this.#records.has(diffId)) {
        // Another draft was a moment ahead: what lies there is whole.
        await this.#remove(folder);
      } else {
        // A layer that is damaged.
        await this.upkeep.retire(diffId);
        await rename(folder, this.#folder(diffId));
      }
    }
    await syncFolder(this.#root);
    this.#records.set(diffId, record);
    return toStored(record);
  }

  #record(diffId: string): LayerRecord {
    const record = this.#records.get(diffId);
    if (record) return record;
    throw new RuntimeError('not-found', `layer ${diffId} is not there, pull its image again`);
  }

  #folder(key: string): string {
    return join(this.#root, hexOf(key));
  }
}

function toStored({ diffId, bytes, inodes, listing }: LayerRecord): StoredLayer {
  if (listing === undefined) return { key: diffId, bytes, inodes, isMeasured: false };
  return ownFiles({ key: diffId, bytes: listing.bytes, inodes: listing.inodes });
}

function atMostSome(remove: (path: string) => Promise<void>): (path: string) => Promise<void> {
  const limit = new Limit(MOST_REMOVALS);
  return (path) => limit.run(() => remove(path));
}
