/** The layers of images: fetched, verified, unpacked into the storage driver, each once. */
import { isSystemError, RuntimeError, wrap } from '../../core/errors.js';
import type { Descriptor } from '../../core/oci.js';
import type {
  LayerDraft,
  LayerKey,
  LayerKeyKind,
  LayerStorage,
  LayerUpkeep,
  StoredLayer,
  UnpackReport,
} from '../../core/ports/storage.js';
import { KeyedMutex } from '../../util/keyed-mutex.js';
import { SharedWork } from '../../util/shared-work.js';
import { BlobArrival } from '../unpack/blob-arrival.js';
import type { BlobDraft, BlobStore } from './blob-store.js';
import type { ImageSource } from '../source/image-source.js';
import type { Unpack } from '../unpack/unpack-process.js';

export interface LayerProgress {
  /** What is counted is not this one's own: the blob was kept, or somebody else brings it. */
  notFetched(): void;
  downloaded(doneBytes: number): void;
  unpacked(doneBytes: number): void;
}

export interface LayerWanted {
  layer: LayerKey;
  descriptor: Descriptor;
  source: ImageSource;
  /** Resolves once the layer below is there; at once where layers don't know each other. */
  parentReady: Promise<unknown>;
}

/** For work that nobody watches. */
export const SILENT: LayerProgress = {
  notFetched: () => undefined,
  downloaded: () => undefined,
  unpacked: () => undefined,
};

/** Of which a layer is made. */
interface Blob {
  file: BlobDraft['file'];
  size: number;
  /** Whether its digest has been compared, or is by the time `verified` resolves. */
  isVerified: boolean;
  /** Of one that is still coming. */
  arrival?: BlobArrival;
  verified?: Promise<void>;
}

export class LayerStore {
  readonly #storage: LayerStorage;
  readonly #blobs: BlobStore;
  readonly #unpack: Unpack;
  readonly #layers = new Map<string, StoredLayer>();
  #newer: ReadonlyMap<string, RuntimeError> = new Map();
  readonly #damaged = new Map<string, string>();
  readonly #work = new SharedWork<void>();
  /** Who wants to know how far a piece of work is, whoever began it. */
  readonly #watching = new Map<string, Set<LayerProgress>>();
  /** One layer may come as several blobs, of other compressions. */
  readonly #fills = new KeyedMutex();
  /** How many pulls under way need a layer, there or not. */
  readonly #pins = new Map<string, number>();
  /** Layers that are being removed. */
  readonly #leaving = new Map<string, Promise<void>>();

  constructor(storage: LayerStorage, blobs: BlobStore, unpack: Unpack) {
    this.#storage = storage;
    this.#blobs = blobs;
    this.#unpack = unpack;
  }

  get keyedBy(): LayerKeyKind {
    return this.#storage.keyedBy;
  }

  async load(): Promise<void> {
    const { layers, newer, damaged } = await this.#storage.loadLayers();
    for (const layer of layers) this.#layers.set(layer.key, layer);
    this.#newer = newer;
    for (const [key, reason] of damaged ?? []) this.#damaged.set(key, reason);
  }

  /** For those who look for damage: see LayerUpkeep. */
  get upkeep(): LayerUpkeep | undefined {
    return this.#storage.upkeep;
  }

  has(key: string): boolean {
    return this.#layers.has(key);
  }

  /** What is known to be wrong with a layer, which counts as one that is not there. */
  damage(key: string): string | undefined {
    return this.#damaged.get(key);
  }

  /** From now on it is not there, for whoever asks, nor after a restart; its files stay for what runs on them. */
  async condemn(key: string, reason: string): Promise<void> {
    this.#layers.delete(key);
    this.#damaged.set(key, reason);
    await this.upkeep?.condemn(key);
  }

  /** Those whose figures are an estimate. */
  unmeasured(): string[] {
    const layers = [...this.#layers.values()];
    return layers.filter(({ isMeasured }) => isMeasured === false).map(({ key }) => key);
  }

  /** Measures a layer exactly, where the driver can; remembers the figures. */
  async measure(key: string): Promise<void> {
    // Not while it is made anew: what is found would be said of the wrong files.
    await this.#fills.run(key, async () => {
      if (!this.has(key)) return;
      const measured = await this.upkeep?.measure(key);
      if (measured && this.has(key)) this.#layers.set(key, measured);
    });
  }

  /** Why a layer that is there cannot be used; undefined for any other. */
  refusal(key: string): RuntimeError | undefined {
    return this.#newer.get(key);
  }

  /** Keeps layers from being collected until the returned function is called. */
  pin(keys: readonly string[]): () => void {
    for (const key of keys) this.#pins.set(key, (this.#pins.get(key) ?? 0) + 1);
    return () => {
      for (const key of keys) {
        const left = (this.#pins.get(key) ?? 0) - 1;
        if (left > 0) this.#pins.set(key, left);
        else this.#pins.delete(key);
      }
    };
  }

  /** Makes sure that layer and blob are there. Two images that need the same one share the work. */
  async ensure(wanted: LayerWanted, signal: AbortSignal, progress: LayerProgress): Promise<void> {
    const { key } = wanted.layer;
    await this.#leaving.get(key);
    if (this.has(key) && this.#blobs.has(wanted.descriptor.digest)) return;
    const refusal = this.refusal(key);
    if (refusal) throw refusal;
    const name = `${key} ${wanted.descriptor.digest}`;
    const watching = this.#watching.get(name) ?? new Set<LayerProgress>();
    if (watching.size > 0) progress.notFetched();
    this.#watching.set(name, watching.add(progress));
    try {
      const all = toEach(watching);
      await this.#work.run(name, signal, (shared) => this.#make(wanted, shared, all));
    } finally {
      watching.delete(progress);
      if (watching.size === 0 && this.#watching.get(name) === watching) this.#watching.delete(name);
    }
  }

  /**
   * Removes every layer that is neither in `needed` nor pinned, children before their parents. Of
   * damaged ones that were replaced, those `inUse` by containers stay.
   */
  async collect(needed: ReadonlySet<string>, inUse: ReadonlySet<string>): Promise<void> {
    const isUnneeded = (key: string): boolean => !needed.has(key) && !this.#pins.has(key);
    const unneeded = [...this.#damaged.keys(), ...this.#layers.keys()].filter(isUnneeded);
    if (this.keyedBy === 'diff') await Promise.all(unneeded.map((key) => this.#remove(key)));
    // Parents were made before their children, and the map keeps that order. A pull that came
    // meanwhile pins a layer with all its parents.
    else for (const key of unneeded.reverse()) if (isUnneeded(key)) await this.#remove(key);
    await this.upkeep?.purge(inUse);
  }

  /** What it takes on the disk; 0 for one that is not there. */
  bytesOf(key: string): number {
    return this.#layers.get(key)?.bytes ?? 0;
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
    const { digest, size } = wanted.descriptor;
    const there = await this.#blobs.openBlob(digest);
    if (there) {
      try {
        progress.notFetched();
        progress.downloaded(size);
        await this.#fill(wanted, { ...there, isVerified: false }, signal, progress);
      } finally {
        await there.file.close();
      }
      return;
    }
    const draft = await this.#blobs.draft(digest);
    try {
      await this.#fetchAndFill(wanted, draft, signal, progress);
      await draft.commit();
    } finally {
      await draft.release();
    }
  }

  /** Unpacks while the blob is still coming. */
  async #fetchAndFill(
    wanted: LayerWanted,
    { file }: BlobDraft,
    signal: AbortSignal,
    progress: LayerProgress,
  ): Promise<void> {
    const { descriptor, source } = wanted;
    const { size } = descriptor;
    const arrival = new BlobArrival(size);
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    const fetching = source
      .fetchLayer({
        descriptor,
        file,
        signal: either,
        onBytes: (done) => {
          arrival.advance(done);
          progress.downloaded(done);
        },
      })
      .catch((error: unknown) => {
        // Ahead of the end of the arrival: the helper is not to blame for what has not come.
        const named = this.#blobs.cannotKeep(descriptor.digest, error);
        stop.abort(named);
        throw named;
      })
      .finally(() => {
        arrival.end();
      });
    const blob = { file, size, isVerified: true, arrival, verified: fetching };
    const filling = this.#fill(wanted, blob, either, progress).catch((error: unknown) => {
      // What cannot be read may have come wrong, which the digest of the blob tells best.
      if (!(error instanceof RuntimeError) || error.kind !== 'data-loss') stop.abort(error);
      throw error;
    });
    const [fetched, filled] = await Promise.allSettled([fetching, filling]);
    // Of two failures the first has caused the other.
    if (stop.signal.aborted) throw stop.signal.reason;
    if (fetched.status === 'rejected') throw fetched.reason;
    if (filled.status === 'rejected') throw filled.reason;
  }

  async #fill(
    wanted: LayerWanted,
    blob: Blob,
    signal: AbortSignal,
    progress: LayerProgress,
  ): Promise<void> {
    const { key } = wanted.layer;
    await wanted.parentReady;
    await this.#fills.run(key, async () => {
      signal.throwIfAborted();
      if (this.has(key)) return;
      let draft: LayerDraft | undefined;
      try {
        draft = await this.#storage.draftLayer(wanted.layer);
        const unpacked = await this.#unpackInto(draft, wanted, blob, signal, progress);
        await blob.verified;
        if (this.#damaged.has(key)) await this.upkeep?.retire(key);
        this.#layers.set(key, await draft.commit(unpacked));
        this.#damaged.delete(key);
      } catch (error) {
        await draft?.discard();
        const { diffId } = wanted.layer;
        throw isSystemError(error) ? wrap(error, `cannot make layer ${diffId}`) : error;
      }
    });
  }

  /** Whether a layer is what its kept blob says; undefined without a sound blob, or a driver that can tell. */
  async matchesBlob(
    wanted: Pick<LayerWanted, 'layer' | 'descriptor'>,
    signal: AbortSignal,
  ): Promise<boolean | undefined> {
    const opened = await this.#blobs.openBlob(wanted.descriptor.digest);
    if (!opened || !this.upkeep) return undefined;
    try {
      const draft = await this.#storage.draftLayer(wanted.layer);
      try {
        const blob = { ...opened, isVerified: false };
        await this.#unpackInto(draft, wanted, blob, signal, SILENT);
        return await this.upkeep.isSame(wanted.layer.key, draft);
      } finally {
        await draft.discard();
      }
    } finally {
      await opened.file.close();
    }
  }

  #unpackInto(
    draft: LayerDraft,
    { layer, descriptor }: Pick<LayerWanted, 'layer' | 'descriptor'>,
    blob: Blob,
    signal: AbortSignal,
    progress: LayerProgress,
  ): Promise<UnpackReport> {
    return this.#unpack({
      diffId: layer.diffId,
      blobFd: blob.file.fd,
      offset: 0,
      length: blob.size,
      digest: blob.isVerified ? '' : descriptor.digest,
      ...(blob.arrival && { arrival: blob.arrival }),
      targetFd: draft.targetFd,
      mode: draft.mode,
      signal,
      onBytes: (done) => {
        progress.unpacked(done);
      },
    });
  }

  async #remove(key: string): Promise<void> {
    this.#layers.delete(key);
    const leaving = this.#storage.removeLayer(key);
    this.#leaving.set(key, leaving);
    try {
      await leaving;
      this.#damaged.delete(key);
    } catch (error) {
      throw wrap(error, `cannot remove layer ${key}`);
    } finally {
      this.#leaving.delete(key);
    }
  }
}

function toEach(watching: ReadonlySet<LayerProgress>): LayerProgress {
  return {
    notFetched: () => {
      for (const one of watching) one.notFetched();
    },
    downloaded: (done) => {
      for (const one of watching) one.downloaded(done);
    },
    unpacked: (done) => {
      for (const one of watching) one.unpacked(done);
    },
  };
}
