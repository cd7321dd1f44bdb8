/** Unpacked layers on disk, each once, whole or not at all. */
import { randomUUID } from 'node:crypto';
import { constants, mkdir, mkdtemp, open, readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { RuntimeError, wrap } from '../core/errors.js';
import {
  hexOf,
  layerFolder,
  layerRecordFile,
  parseLayerRecord,
  type LayerRecord,
} from '../core/layer-record.js';
import type { Descriptor } from '../core/oci.js';
import { syncFolder, writeFileAtomic } from '../util/atomic-file.js';
import { removeTree } from '../util/remove-tree.js';
import { SharedWork } from '../util/shared-work.js';
import type { ImageSource, LayerBlob } from './image-source.js';
import type { Unpack } from './unpack-process.js';

export interface LayerProgress {
  downloaded(doneBytes: number): void;
  unpacked(doneBytes: number): void;
}

export interface LayerWanted {
  diffId: string;
  descriptor: Descriptor;
  source: ImageSource;
}

export class LayerStore {
  readonly #root: string;
  readonly #temporary: string;
  readonly #unpack: Unpack;
  readonly #layers = new Map<string, LayerRecord>();
  readonly #newer = new Map<string, RuntimeError>();
  readonly #work = new SharedWork<void>();
  /** How many pulls under way need a layer, there or not. */
  readonly #pins = new Map<string, number>();
  /** Layers that are being renamed away. */
  readonly #leaving = new Map<string, Promise<void>>();

  constructor(imagesRoot: string, temporaryFolder: string, unpack: Unpack) {
    this.#root = imagesRoot;
    this.#temporary = temporaryFolder;
    this.#unpack = unpack;
  }

  /** Finds what is there. A layer without a readable record is removed, unless a newer agent made it. */
  async load(): Promise<void> {
    for (const hex of await readdir(join(this.#root, 'layers'))) {
      const diffId = `sha256:${hex}`;
      const path = layerRecordFile(this.#root, diffId);
      try {
        this.#layers.set(diffId, parseLayerRecord(await readFile(path, 'utf8'), path));
      } catch (error) {
        if (error instanceof RuntimeError && error.kind === 'failed-precondition')
          this.#newer.set(diffId, error);
        else await this.#moveAway(diffId);
      }
    }
  }

  has(diffId: string): boolean {
    return this.#layers.has(diffId);
  }

  /** Why a layer that is there cannot be used; undefined for any other. */
  refusal(diffId: string): RuntimeError | undefined {
    return this.#newer.get(diffId);
  }

  /** Keeps layers from being collected until the returned function is called. */
  pin(diffIds: readonly string[]): () => void {
    for (const diffId of diffIds) this.#pins.set(diffId, (this.#pins.get(diffId) ?? 0) + 1);
    return () => {
      for (const diffId of diffIds) {
        const left = (this.#pins.get(diffId) ?? 0) - 1;
        if (left > 0) this.#pins.set(diffId, left);
        else this.#pins.delete(diffId);
      }
    };
  }

  /** Makes sure that a layer is there. Two images that need the same one at once share the work. */
  async ensure(wanted: LayerWanted, signal: AbortSignal, progress: LayerProgress): Promise<void> {
    await this.#leaving.get(wanted.diffId);
    if (this.has(wanted.diffId)) return;
    const refusal = this.refusal(wanted.diffId);
    if (refusal) throw refusal;
    await this.#work.run(wanted.diffId, signal, (shared) => this.#make(wanted, shared, progress));
  }

  /** Removes every layer that is neither in `needed` nor pinned. */
  async collect(needed: ReadonlySet<string>): Promise<void> {
    const unneeded = [...this.#layers.keys()].filter(
      (diffId) => !needed.has(diffId) && !this.#pins.has(diffId),
    );
    await Promise.all(unneeded.map((diffId) => this.#moveAway(diffId)));
  }

  usage(): { bytes: number; inodes: number } {
    const usage = { bytes: 0, inodes: 0 };
    for (const { bytes, inodes } of this.#layers.values()) {
      usage.bytes += bytes;
      usage.inodes += inodes;
    }
    return usage;
  }

  async #make(wanted: LayerWanted, signal: AbortSignal, progress: LayerProgress): Promise<void> {
    const folder = await mkdtemp(join(this.#temporary, 'layer-'));
    try {
      const blob = await wanted.source.openLayer({
        descriptor: wanted.descriptor,
        temporaryFolder: folder,
        signal,
        onBytes: (done) => {
          progress.downloaded(done);
        },
      });
      let record: LayerRecord;
      try {
        record = await this.#fill(folder, wanted, blob, signal, progress);
      } finally {
        await blob.release();
      }
      // Everything below `fs` is on disk already: the helper ends with a syncfs.
      await writeFileAtomic(join(folder, 'layer.json'), JSON.stringify(record));
      await rename(folder, layerFolder(this.#root, wanted.diffId));
      await syncFolder(join(this.#root, 'layers'));
      this.#layers.set(wanted.diffId, record);
    } catch (error) {
      await removeTree(folder);
      throw error;
    }
  }

  async #fill(
    folder: string,
    { diffId, descriptor }: LayerWanted,
    blob: LayerBlob,
    signal: AbortSignal,
    progress: LayerProgress,
  ): Promise<LayerRecord> {
    const files = join(folder, 'fs');
    await mkdir(files, { mode: 0o755 });
    const target = await open(files, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      // The agent's umask would otherwise decide who may enter a container's root folder.
      await target.chmod(0o755);
      const report = await this.#unpack({
        diffId,
        blobFd: blob.file.fd,
        offset: blob.offset,
        length: blob.length,
        digest: blob.isVerified ? '' : descriptor.digest,
        targetFd: target.fd,
        signal,
        onBytes: (done) => {
          progress.unpacked(done);
        },
      });
      return { version: 1, ...report };
    } finally {
      await target.close();
    }
  }

  /** From `layers/` to `tmp/` by a rename, and only then piece by piece. */
  async #moveAway(diffId: string): Promise<void> {
    this.#layers.delete(diffId);
    const grave = await this.#leave(diffId);
    await removeTree(grave);
  }

  async #leave(diffId: string): Promise<string> {
    // A name of its own: an earlier removal that failed halfway may still lie there.
    const grave = join(this.#temporary, `removed-${hexOf(diffId)}-${randomUUID()}`);
    const leaving = rename(layerFolder(this.#root, diffId), grave);
    this.#leaving.set(diffId, leaving);
    try {
      await leaving;
    } catch (error) {
      throw wrap(error, `cannot remove layer ${diffId}`);
    } finally {
      this.#leaving.delete(diffId);
    }
    return grave;
  }
}
