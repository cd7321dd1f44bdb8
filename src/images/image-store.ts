/** The images of this host: pulled, listed, found by any of their names, removed. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { RuntimeError, wrap } from '../core/errors.js';
import type { ImageDetails } from '../core/image-details.js';
import type { ImageId } from '../core/ids.js';
import { formatImageReference, parseImageReference } from '../core/image-reference.js';
import { hexOf } from '../core/digest.js';
import { layerKeys } from '../core/layer-key.js';
import type { ImageRecord } from '../core/model.js';
import { platformsOf, type Platform } from '../core/oci.js';
import type {
  ArchiveFormat,
  ImageStore,
  LayerStorage,
  LoadedImage,
  LoadOptions,
  PullOptions,
  RegistryAuth,
} from '../core/ports.js';
import type { PullReport, PullUnderWay } from '../core/pull-progress.js';
import { KeyedMutex } from '../util/keyed-mutex.js';
import { mountpointOf } from '../util/mountinfo.js';
import { removeTree } from '../util/remove-tree.js';
import { SharedWork } from '../util/shared-work.js';
import { BlobStore } from './blob-store.js';
import { parseImageOrigin, type ImageOrigin } from './image-origin.js';
import { readImageArchive } from './image-archive.js';
import { imageDetails } from './image-details.js';
import { spoolArchive } from './image-load.js';
import { ImageRecords, type StoredImage } from './image-records.js';
import { saveImages } from './image-save.js';
import type { ArchivedImage, ImageSource } from './image-source.js';
import { LayerStore } from './layer-store.js';
import { openSibling, openSource, type OpenRegistry } from './image-origin-source.js';
import { PullProgress } from './pull-progress.js';
import { pullImage, type PulledImage } from './pull-work.js';
import type { ImagePolicy } from './signature/image-policy.js';
import type { Unpack } from './unpack-process.js';

export interface ImageStoreOptions {
  /** Folder of blobs and records; made when it is not there. */
  root: string;
  /** Where unpacked layers are. */
  layers: LayerStorage;
  /** How a layer is unpacked: see unpack-process.ts. */
  unpack: Unpack;
  /** Images of a registry. */
  openRegistry: OpenRegistry;
  /** Asked anew for each pull; without it every image is accepted. */
  readPolicy?: () => Promise<ImagePolicy>;
  platforms?: readonly Platform[];
  /** Told of each pull once, however many callers share it. */
  onPullEnd?: (report: PullReport) => void;
}

const FOLDERS = ['blobs/sha256', 'records', 'tmp'];
/** Names, tags and files change one at a time. */
const CHANGES = 'changes';

export class FolderImageStore implements ImageStore {
  /** Records that were found damaged or too new at the start, for the caller to report. */
  readonly unreadable: readonly { path: string; reason: string }[];
  readonly #options: ImageStoreOptions;
  readonly #records: ImageRecords;
  readonly #layers: LayerStore;
  readonly #blobs: BlobStore;
  readonly #newer: ReadonlySet<string>;
  readonly #images = new Map<ImageId, StoredImage>();
  /** Every tag and digest reference. */
  readonly #names = new Map<string, ImageId>();
  readonly #pulls = new SharedWork<ImageRecord>();
  readonly #underWay = new Map<string, PullProgress>();
  readonly #changes = new KeyedMutex();
  readonly #mountpoint: string;
  #sequence = 0;

  private constructor(
    options: ImageStoreOptions,
    parts: { records: ImageRecords; layers: LayerStore; blobs: BlobStore; mountpoint: string },
    loaded: Awaited<ReturnType<ImageRecords['load']>>,
  ) {
    this.#options = options;
    this.#records = parts.records;
    this.#layers = parts.layers;
    this.#blobs = parts.blobs;
    this.#newer = loaded.newer;
    this.unreadable = loaded.unreadable;
    this.#mountpoint = parts.mountpoint;
    for (const image of loaded.images) {
      this.#sequence = Math.max(this.#sequence, image.sequence);
      this.#images.set(image.id, image);
    }
  }

  /** Takes up what an earlier agent left, whole images alone. */
  static async open(options: ImageStoreOptions): Promise<FolderImageStore> {
    const { root } = options;
    for (const folder of FOLDERS) await mkdir(join(root, folder), { recursive: true, mode: 0o700 });
    const temporary = join(root, 'tmp');
    for (const name of await readdir(temporary)) await removeTree(join(temporary, name));
    const blobs = await BlobStore.open(join(root, 'blobs/sha256'), temporary);
    const layers = new LayerStore(options.layers, blobs, options.unpack);
    await layers.load();
    const records = new ImageRecords(root);
    const loaded = await records.load((image) => {
      const keys = layerKeys(image.layers, layers.keyedBy);
      const missing = keys.find(({ key }) => !layers.has(key));
      if (missing === undefined) return null;
      const refused = keys.find(({ key }) => layers.refusal(key) !== undefined);
      if (refused === undefined)
        return { reason: `layer ${missing.diffId} is missing`, isNewer: false };
      return { reason: layers.refusal(refused.key)?.message ?? '', isNewer: true };
    });
    const mountpoint = mountpointOf(await realpath(root));
    const store = new FolderImageStore(options, { records, layers, blobs, mountpoint }, loaded);
    // In order of sequence: a tag that two records have after a crash goes to the later one.
    for (const image of loaded.images) await store.#takeTags(image);
    store.#indexNames();
    await store.#collect();
    return store;
  }

  async pull(
    reference: string,
    auth: RegistryAuth | null,
    options: PullOptions,
  ): Promise<ImageRecord> {
    const origin = parseImageOrigin(reference);
    // Callers with other credentials may have other rights: they do not share.
    const key = JSON.stringify([origin, origin.kind === 'registry' ? auth : null]);
    try {
      const pulling = this.#pulls.run(key, options.signal, (signal) => {
        const progress = new PullProgress(reference);
        this.#underWay.set(key, progress);
        return this.#follow(key, progress, this.#pull(origin, auth, signal, progress));
      });
      const progress = this.#underWay.get(key);
      if (progress) options.onStart?.(progress);
      return await pulling;
    } catch (error) {
      if (options.signal?.aborted !== true) throw wrap(error, `cannot pull ${reference}`);
      throw new RuntimeError('cancelled', `the pull of ${reference} was cancelled`, error);
    }
  }

  pullsUnderWay(): PullUnderWay[] {
    return [...this.#underWay.values()];
  }

  async tag(reference: string, name: string): Promise<ImageRecord> {
    const tag = parseImageReference(name);
    if (tag.digest !== '') {
      throw new RuntimeError('invalid-argument', `${name} has a digest: give a name with a tag`);
    }
    return this.#changes.run(CHANGES, () =>
      this.#addTags(this.#known(reference), [formatImageReference(tag)]),
    );
  }

  async *save(
    references: readonly string[],
    format: ArchiveFormat,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const images = new Map<ImageId, { image: StoredImage; names: Set<string> }>();
    for (const reference of references) {
      const image = this.#known(reference);
      const found = images.get(image.id) ?? { image, names: new Set() };
      const tag = this.#tagOf(reference);
      for (const name of tag === undefined ? image.repoTags : [tag]) found.names.add(name);
      images.set(image.id, found);
    }
    const { unpack } = this.#options;
    const work = { blobs: this.#blobs, unpack, temporaryFolder: this.#temporary, signal };
    const saved = [...images.values()].map(({ image, names }) => ({ image, names: [...names] }));
    yield* saveImages(work, saved, format);
  }

  async load(
    archive: AsyncIterable<Uint8Array>,
    { name, signal, onStart }: LoadOptions,
  ): Promise<LoadedImage[]> {
    const { unpack } = this.#options;
    const work = { unpack, temporaryFolder: this.#temporary, signal };
    const spooled = await spoolArchive(work, archive);
    try {
      const loaded: LoadedImage[] = [];
      for (const image of await readImageArchive(spooled.path, name)) {
        loaded.push(await this.#load(image, spooled.path, signal, onStart));
      }
      return loaded;
    } finally {
      await spooled.remove();
    }
  }

  async details(id: ImageId): Promise<ImageDetails> {
    return imageDetails(this.#blobs, this.#layers, this.#known(id));
  }

  find(reference: string): ImageRecord | undefined {
    return this.#find(reference);
  }

  list(): ImageRecord[] {
    return [...this.#images.values()];
  }

  /** The record goes first, and only then the image from memory: a disk that refuses leaves it as it was. */
  async remove(id: ImageId): Promise<number> {
    return this.#changes.run(CHANGES, async () => {
      if (!this.#images.has(id)) return 0;
      const { usedBytes } = await this.usage();
      await this.#records.remove(id);
      this.#images.delete(id);
      this.#indexNames();
      await this.#collect();
      return Math.max(0, usedBytes - (await this.usage()).usedBytes);
    });
  }

  usage(): ReturnType<ImageStore['usage']> {
    const usage = this.#layers.usage();
    for (const [, size] of this.#blobs.list()) {
      usage.bytes += size;
      usage.inodes += 1;
    }
    return Promise.resolve({
      mountpoint: this.#mountpoint,
      usedBytes: usage.bytes,
      inodesUsed: usage.inodes,
      timestamp: BigInt(Date.now()) * 1_000_000n,
    });
  }

  async #follow(
    key: string,
    progress: PullProgress,
    work: Promise<ImageRecord>,
  ): Promise<ImageRecord> {
    const tell = (outcome: PullReport['outcome']): void => {
      // After a cancelled one the same may have been started anew.
      if (this.#underWay.get(key) === progress) this.#underWay.delete(key);
      this.#options.onPullEnd?.(progress.report(outcome));
    };
    try {
      const image = await work;
      tell({ imageId: image.id });
      return image;
    } catch (error) {
      tell({ error });
      throw error;
    }
  }

  async #pull(
    origin: ImageOrigin,
    auth: RegistryAuth | null,
    signal: AbortSignal,
    progress: PullProgress,
  ): Promise<ImageRecord> {
    const open = (): Promise<ImageSource> => openSource(this.#options.openRegistry, origin, auth);
    return this.#take(open, { origin, auth }, signal, progress);
  }

  /** Fetches what is missing of an image, and makes it one of the store's. */
  async #take(
    open: () => ImageSource | Promise<ImageSource>,
    { origin, auth }: { origin: ImageOrigin; auth: RegistryAuth | null },
    signal: AbortSignal,
    progress: PullProgress,
  ): Promise<StoredImage> {
    const { openRegistry, readPolicy } = this.#options;
    const policy = await readPolicy?.();
    const demands = await policy?.demandsOf(origin);
    return pullImage(
      {
        source: await open(),
        layers: this.#layers,
        blobs: this.#blobs,
        platforms: this.#options.platforms ?? platformsOf(process.arch),
        admit: async (digests) => {
          const siblings = openSibling(openRegistry, origin, auth);
          await demands?.check({ digests, openSibling: siblings, signal });
        },
        signal,
        progress,
      },
      (pulled) => this.#changes.run(CHANGES, () => this.#commit(pulled)),
    );
  }

  /** Blobs first, the record last; names that another image had move in memory after that. */
  async #commit({ record, blobs, layerBlobs }: PulledImage): Promise<StoredImage> {
    if (this.#newer.has(record.id)) {
      throw new RuntimeError(
        'failed-precondition',
        `a newer version of the agent has pulled image ${record.id}: run that version, or remove its record`,
      );
    }
    for (const [digest, bytes] of blobs) await this.#blobs.write(digest, bytes);
    const before = this.#images.get(record.id);
    const image: StoredImage = {
      ...record,
      repoTags: union(before?.repoTags, record.repoTags),
      repoDigests: union(before?.repoDigests, record.repoDigests),
      blobs: union(before?.blobs, [...blobs.keys()]),
      layerBlobs: union(before?.layerBlobs, layerBlobs),
      sequence: this.#nextSequence(),
    };
    await this.#records.save(image);
    this.#images.set(image.id, image);
    await this.#takeTags(image);
    this.#indexNames();
    return image;
  }

  async #load(
    { names, source }: ArchivedImage,
    path: string,
    signal: AbortSignal,
    onStart: LoadOptions['onStart'],
  ): Promise<LoadedImage> {
    const tags = names.map(formatImageReference);
    const progress = new PullProgress(tags[0] ?? 'an image without a name');
    const key = `load ${randomUUID()}`;
    this.#underWay.set(key, progress);
    onStart?.(progress);
    try {
      const from = { origin: { kind: 'archive' as const, path, name: '' }, auth: null };
      const image = await this.#take(() => source, from, signal, progress);
      if (tags.length > 1) {
        await this.#changes.run(CHANGES, () => this.#addTags(this.#known(image.id), tags));
      }
      return { id: image.id, names: tags };
    } catch (error) {
      throw wrap(error, `cannot load ${progress.reference}`);
    } finally {
      this.#underWay.delete(key);
    }
  }

  async #addTags(image: StoredImage, tags: readonly string[]): Promise<StoredImage> {
    const tagged = {
      ...image,
      repoTags: union(image.repoTags, tags),
      sequence: this.#nextSequence(),
    };
    await this.#records.save(tagged);
    this.#images.set(tagged.id, tagged);
    await this.#takeTags(tagged);
    this.#indexNames();
    return tagged;
  }

  /** A tag names one image: whoever had it before keeps its digests alone. */
  async #takeTags(owner: StoredImage): Promise<void> {
    for (const image of [...this.#images.values()]) {
      if (image.id === owner.id || image.sequence > owner.sequence) continue;
      const kept = image.repoTags.filter((tag) => !owner.repoTags.includes(tag));
      if (kept.length === image.repoTags.length) continue;
      const changed = { ...image, repoTags: kept };
      this.#images.set(image.id, changed);
      await this.#records.save(changed);
    }
  }

  #nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  #indexNames(): void {
    this.#names.clear();
    for (const image of this.#images.values()) {
      for (const name of [...image.repoTags, ...image.repoDigests]) this.#names.set(name, image.id);
    }
  }

  #find(reference: string): StoredImage | undefined {
    const id = this.#findName(reference) ?? this.#findId(reference);
    return id === undefined ? undefined : this.#images.get(id);
  }

  #known(reference: string): StoredImage {
    const image = this.#find(reference);
    if (image) return image;
    throw new RuntimeError('not-found', `there is no image ${JSON.stringify(reference)}`);
  }

  /** The full form of a reference by which an image is found as its tag. */
  #tagOf(reference: string): string | undefined {
    if (this.#findName(reference) === undefined) return undefined;
    const parsed = parseImageReference(reference);
    return parsed.digest === '' ? formatImageReference(parsed) : undefined;
  }

  get #temporary(): string {
    return join(this.#options.root, 'tmp');
  }

  #findName(reference: string): ImageId | undefined {
    try {
      return this.#names.get(formatImageReference(parseImageReference(reference)));
    } catch (error) {
      // An id, a path, or nonsense: not a name in any case.
      if (error instanceof RuntimeError) return undefined;
      throw error;
    }
  }

  #findId(reference: string): ImageId | undefined {
    const hex = reference.startsWith('sha256:') ? hexOf(reference) : reference;
    if (!/^[0-9a-f]{8,64}$/.test(hex)) return undefined;
    const found = [...this.#images.keys()].filter((id) => hexOf(id).startsWith(hex));
    return found.length === 1 ? found[0] : undefined;
  }

  /** Removes blobs and layers that no record needs. With a record we cannot read, everything stays. */
  async #collect(): Promise<void> {
    if (this.#newer.size > 0) return;
    const images = [...this.#images.values()];
    await this.#blobs.collect(
      new Set(images.flatMap(({ blobs, layerBlobs }) => [...blobs, ...layerBlobs])),
    );
    const keys = images.flatMap(({ layers }) => layerKeys(layers, this.#layers.keyedBy));
    await this.#layers.collect(new Set(keys.map(({ key }) => key)));
  }
}

function union(before: readonly string[] | undefined, added: readonly string[]): string[] {
  return [...new Set([...(before ?? []), ...added])];
}
