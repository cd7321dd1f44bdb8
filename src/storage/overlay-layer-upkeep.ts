/** Finds damage to unpacked layers, and takes a damaged one out of the way of a new one. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hexOf } from '../core/digest.js';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import type {
  LayerCondition,
  LayerDraft,
  LayerUpkeep,
  StoredLayer,
} from '../core/ports/storage.js';
import type { NativeAddon } from '../native/binding.js';
import { syncFolder, writeFileAtomic } from '../util/atomic-file.js';
import type { LayerRecord } from './overlay-layer-record.js';

/** Damaged layers that a container may stand on: overlayfs goes on with a folder that was renamed. */
export const RETIRED = '.retired';

/** With the layer's own folder and record, a block each. */
export function ownFiles({ key, bytes, inodes }: StoredLayer): StoredLayer {
  return { key, bytes: bytes + 8192, inodes: inodes + 2, isMeasured: true };
}

export class OverlayLayerUpkeep implements LayerUpkeep {
  readonly #root: string;
  readonly #records: Map<string, LayerRecord>;
  readonly #addon: Pick<NativeAddon, 'treeListing' | 'removeTree'>;

  /** `records` are those of the whole layers, by key, kept by the driver. */
  constructor(
    root: string,
    records: Map<string, LayerRecord>,
    addon: Pick<NativeAddon, 'treeListing' | 'removeTree'>,
  ) {
    this.#root = root;
    this.#records = records;
    this.#addon = addon;
  }

  async measure(key: string): Promise<StoredLayer> {
    const record = this.#record(key);
    const listing = await this.#addon.treeListing(this.#files(key), false);
    // Removed or retired meanwhile: another one's folder must not get this record.
    if (this.#records.get(key) !== record) {
      throw new RuntimeError('aborted', `layer ${key} was replaced while it was measured`);
    }
    const measured = { ...record, listing };
    await writeFileAtomic(join(this.#folder(key), 'layer.json'), JSON.stringify(measured));
    this.#records.set(key, measured);
    return ownFiles({ key, bytes: listing.bytes, inodes: listing.inodes });
  }

  async check(key: string): Promise<LayerCondition> {
    const { listing } = this.#record(key);
    if (listing === undefined) return { state: 'unmeasured' };
    try {
      const found = await this.#addon.treeListing(this.#files(key), false);
      if (found.fingerprint === listing.fingerprint) return { state: 'sound' };
      const figures = (of: { inodes: number; bytes: number }): string =>
        `${of.inodes} files and folders of ${of.bytes} bytes`;
      return {
        state: 'damaged',
        reason: `its files are not what was unpacked: ${figures(found)} instead of ${figures(listing)}`,
      };
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return { state: 'damaged', reason: `its files cannot be read: ${why}` };
    }
  }

  async isSame(key: string, draft: LayerDraft): Promise<boolean> {
    try {
      const [there, wanted] = [
        await this.#addon.treeListing(this.#files(key), true),
        await this.#addon.treeListing(`/proc/self/fd/${draft.targetFd}/.`, true),
      ];
      return there.fingerprint === wanted.fingerprint;
    } catch (error) {
      // EIO, EUCLEAN and the like: of a draft just written as good as never.
      if (error instanceof Error && 'syscall' in error) return false;
      throw error;
    }
  }

  async condemn(key: string): Promise<void> {
    try {
      // Without its record a folder is no layer.
      await rm(join(this.#folder(key), 'layer.json'), { force: true });
      await syncFolder(this.#folder(key));
    } catch {
      // Its folder is gone, or the disk is read-only: the next check finds it damaged again.
    }
  }

  async retire(key: string): Promise<void> {
    try {
      await mkdir(join(this.#root, RETIRED), { recursive: true, mode: 0o700 });
      const grave = join(this.#root, RETIRED, `${hexOf(key)}-${randomUUID()}`);
      await rename(this.#folder(key), grave);
      await syncFolder(this.#root);
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw wrap(error, `cannot retire layer ${key}`);
    }
    this.#records.delete(key);
  }

  async purge(used: ReadonlySet<string>): Promise<void> {
    const folder = join(this.#root, RETIRED);
    let names: string[];
    try {
      names = await readdir(folder);
    } catch (error) {
      // As good as always.
      if (hasCode(error, 'ENOENT')) return;
      throw error;
    }
    const kept = names.filter((name) => used.has(`sha256:${name.slice(0, 64)}`));
    for (const name of names) {
      if (!kept.includes(name)) await this.#addon.removeTree(join(folder, name));
    }
    if (kept.length === 0) await rmdir(folder);
  }

  #record(key: string): LayerRecord {
    const record = this.#records.get(key);
    if (record) return record;
    throw new RuntimeError('not-found', `layer ${key} is not there`);
  }

  #folder(key: string): string {
    return join(this.#root, hexOf(key));
  }

  #files(key: string): string {
    return join(this.#folder(key), 'fs');
  }
}
