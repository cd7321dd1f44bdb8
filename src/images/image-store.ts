/** The images of this host: pulled, listed, found by any of their names, removed. */
import { mkdir, readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { RuntimeError, wrap } from '../core/errors.js';
import type { CheckDepth, CheckOptions, ImageCheck } from '../core/image-check.js';
import type { ImageDetails } from '../core/image-details.js';
import type { ImageId } from '../core/ids.js';
import { formatImageReference, imageName, parseImageReference } from '../core/image-reference.js';
import type { ImageRecord } from '../core/model.js';
import { platformsOf, type Platform } from '../core/oci.js';
import type {
  ArchiveFormat,
  ImageStore,
  LayerStorage,
  LoadedImage,
  LoadOptions,
  OwnedFd,
  PullOptions,
  PushedImage,
  PushOptions,
  RegistryAuth,
  UnreadableFile,
} from '../core/ports.js';
import type { PullReport, PullUnderWay } from '../core/pull-progress.js';
import { KeyedMutex } from '../util/keyed-mutex.js';
import { mountpointOf } from '../util/mountinfo.js';
import { removeTree } from '../util/remove-tree.js';
import { SharedWork } from '../util/shared-work.js';
import { ArtifactFolders, type MountVolume } from './store/artifact-folders.js';
import { BlobStore } from './store/blob-store.js';
import { CleanEnd } from './store/clean-end.js';
import { collectGarbage } from './store/collection.js';
import { checkStore } from './store/image-check.js';
import { findFault } from './store/image-fault.js';
import { ImageNames } from './store/image-names.js';
import { parseImageOrigin, type ImageOrigin, type ReadOrigin } from './source/image-origin.js';
import { imageDetails } from './store/image-details.js';
import { pushStored, saveStored, type ExportParts } from './image-export.js';
import { loadArchive } from './archive/image-load.js';
import { isKnown, isWhole, mergePulled } from './pull/image-presence.js';
import { ImageRecords, type StoredImage } from './store/image-records.js';
import type { ArchivedImage, ImageSource } from './source/image-source.js';
import { LayerMeasurer } from './store/layer-measurer.js';
import { LayerStore } from './store/layer-store.js';
import { openSibling, openSource, type OpenRegistry } from './source/image-origin-source.js';
import { ImageTemplates } from './template/image-templates.js';
import { PullProgress } from './pull/pull-progress.js';
import { pullImage, type PulledImage } from './pull/pull-work.js';
import type { PushImage } from './registry/push.js';
import type { ImagePolicy } from './signature/image-policy.js';
import type { Unpack } from './unpack/unpack-process.js';

export interface ImageStoreOptions {
  /** Folder of blobs and records; made when it is not there. */
  root: string;
  /** Where unpacked layers are. */
  layers: LayerStorage;
  /** How a layer is unpacked: see unpack-process.ts. */
  unpack: Unpack;
  /** Images of a registry. */
  openRegistry: OpenRegistry;
  /** Proxmox VE's list of storages, for `pve://`. */
  storageConfig?: string;
  /** Asked anew for each pull; without it every image is accepted. */
  readPolicy?: () => Promise<ImagePolicy>;
  /** Of the host: /proc/sys/kernel/random/boot_id. */
  bootId: string;
  /** New layers are measured when no pull has ended for this long. */
  quietMs?: number;
  mountVolume: MountVolume;
  platforms?: readonly Platform[];
  /** Without it nothing can be sent to a registry. */
  pushImage?: PushImage;
  /** Told of each pull once, however many callers share it. */
  onPullEnd?: (report: PullReport) => void;
}

const FOLDERS = ['blobs/sha256', 'records', 'tmp'];
/** Names, tags and files change one at a time. */
const CHANGES = 'changes';
const QUIET_MS = 1000;

interface Parts {
  records: ImageRecords;
  layers: LayerStore;
  blobs: BlobStore;
  cleanEnd: CleanEnd;
  mountpoint: string;
}

export class FolderImageStore implements ImageStore {
  readonly #options: ImageStoreOptions;
  readonly #records: ImageRecords;
  readonly #layers: LayerStore;
  readonly #blobs: BlobStore;
  readonly #artifacts: ArtifactFolders;
  readonly #cleanEnd: CleanEnd;
  readonly #newer: ReadonlyMap<string, UnreadableFile>;
  readonly #images = new Map<ImageId, StoredImage>();
  /** Not listed while what they lack is made again. */
  readonly #withheld = new Map<ImageId, { image: StoredImage; reason: string }>();
  readonly #names = new ImageNames();
  readonly #pulls = new SharedWork<ImageRecord>();
  readonly #underWay = new Map<string, PullProgress>();
  readonly #changes = new KeyedMutex();
  readonly #templates: ImageTemplates;
  readonly #mountpoint: string;
  readonly #measurer: LayerMeasurer;
  #inUse: (() => ReadonlySet<ImageId>) | undefined;
  #sequence = 0;

  private constructor(
    options: ImageStoreOptions,
    parts: Parts,
    loaded: Awaited<ReturnType<ImageRecords['load']>>,
  ) {
    this.#options = options;
    const { unpack, storageConfig } = options;
    this.#templates = new ImageTemplates({
      unpack,
      temporaryFolder: this.#temporary,
      ...(storageConfig !== undefined && { storageConfig }),
    });
    this.#records = parts.records;
    this.#layers = parts.layers;
    this.#blobs = parts.blobs;
    this.#artifacts = new ArtifactFolders(
      join(options.root, 'artifacts'),
      this.#temporary,
      parts.blobs,
      options.mountVolume,
    );
    this.#cleanEnd = parts.cleanEnd;
    this.#newer = loaded.newer;
    this.#mountpoint = parts.mountpoint;
    this.#measurer = new LayerMeasurer({
      layers: parts.layers,
      isBusy: () => this.#underWay.size > 0 || this.#cleanEnd.isCheckDue,
      quietMs: options.quietMs ?? QUIET_MS,
    });
    for (const image of loaded.images) this.#images.set(image.id, image);
    for (const found of loaded.mendable) this.#withheld.set(found.image.id, found);
    for (const { sequence } of [...loaded.images, ...loaded.mendable.map(({ image }) => image)])
      this.#sequence = Math.max(this.#sequence, sequence);
  }

  /** Takes up what an earlier agent left. Nothing is removed but what was under way. */
  static async open(options: ImageStoreOptions): Promise<FolderImageStore> {
    const { root } = options;
    for (const folder of FOLDERS) await mkdir(join(root, folder), { recursive: true, mode: 0o700 });
    const temporary = join(root, 'tmp');
    for (const name of await readdir(temporary)) await removeTree(join(temporary, name));
    const blobs = await BlobStore.open(join(root, 'blobs/sha256'), temporary);
    const layers = new LayerStore(options.layers, blobs, options.unpack);
    await layers.load();
    const records = new ImageRecords(root);
    const loaded = await records.load((image) => findFault(image, layers, blobs));
    const mountpoint = mountpointOf(await realpath(root));
    const cleanEnd = await CleanEnd.open(join(root, 'running'), options.bootId);
    const parts = { records, layers, blobs, cleanEnd, mountpoint };
    const store = new FolderImageStore(options, parts, loaded);
    // In order of sequence: a tag that two records have after a crash goes to the later one.
    for (const image of loaded.images) await store.#takeTags(image);
    store.#names.index(store.#images.values());
    return store;
  }

  /** The agent ends in order; pulls have ended. */
  async close(): Promise<void> {
    this.#measurer.stop();
    await this.#cleanEnd.close();
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

  async push(
    reference: string,
    destination: string,
    auth: RegistryAuth | null,
    options: PushOptions,
  ): Promise<PushedImage> {
    return pushStored(this.#parts, this.#known(reference), destination, auth, options);
  }

  async *save(
    references: readonly string[],
    format: ArchiveFormat,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const chosen = references.map((reference) => ({
      image: this.#known(reference),
      tag: this.#tagOf(reference),
    }));
    yield* saveStored(this.#parts, chosen, format, signal);
  }

  async load(
    archive: AsyncIterable<Uint8Array>,
    { name, signal, onStart }: LoadOptions,
  ): Promise<LoadedImage[]> {
    return loadArchive({ ...this.#parts, signal }, archive, name, (image, path) =>
      this.#load(image, path, signal, onStart),
    );
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

  async mountArtifact(id: ImageId, subPath: string): Promise<OwnedFd> {
    const { files = [] } = this.#known(id);
    return this.#artifacts.mount(id, files, subPath);
  }

  /** The record goes first, and only then the image from memory: a disk that refuses leaves it as it was. */
  async remove(id: ImageId): Promise<number> {
    return this.#changes.run(CHANGES, async () => {
      if (!this.#images.has(id)) return 0;
      const { usedBytes } = await this.usage();
      await this.#records.remove(id);
      this.#images.delete(id);
      this.#names.index(this.#images.values());
      try {
        await this.#collect();
      } catch (error) {
        throw wrap(error, `image ${id} is removed, but not all of its space came back`);
      }
      return Math.max(0, usedBytes - (await this.usage()).usedBytes);
    });
  }

  async startCollecting(inUse: () => ReadonlySet<ImageId>): Promise<void> {
    this.#inUse = inUse;
    await this.#changes.run(CHANGES, () => this.#collect());
    this.#measurer.soon();
  }

  dueCheck(): CheckDepth | null {
    if (this.#cleanEnd.isCheckDue) return 'listing';
    return this.#withheld.size > 0 ? 'known' : null;
  }

  async check(options: CheckOptions): Promise<ImageCheck> {
    const result = await checkStore(
      {
        blobs: this.#blobs,
        layers: this.#layers,
        images: () => [...this.#images.values()],
        withheld: () => [...this.#withheld.values()],
        withhold: (image, reason) => this.#withhold(image, reason),
        giveBack: (id) => this.#giveBack(id),
        quarantine: (id, reason) => this.#setAside(id, reason),
      },
      options,
    );
    if (options.depth !== 'known') await this.#cleanEnd.checked();
    await this.#changes.run(CHANGES, () => this.#collect());
    this.#measurer.soon();
    return result;
  }

  unreadable(): UnreadableFile[] {
    return [
      ...this.#newer.values(),
      ...[...this.#records.setAside.values()].map(({ file }) => file),
      ...[...this.#withheld.values()].map(({ image, reason }) => ({
        path: this.#records.path(image.id),
        reason,
      })),
    ];
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
    named: ImageOrigin,
    auth: RegistryAuth | null,
    signal: AbortSignal,
    progress: PullProgress,
  ): Promise<ImageRecord> {
    const origin = await this.#templates.locate(named);
    const present = await this.#presentByDigest(origin);
    if (present) return present;
    const open = async (): Promise<ImageSource> =>
      (await this.#templates.open(origin)) ?? openSource(this.#options.openRegistry, origin, auth);
    return this.#take(open, { origin, auth }, signal, progress);
  }

  /**
   * An image that is here and named by its digest: a registry has nothing to say that is not known, unless
   * it decides who may have the image, or has its signatures.
   */
  async #presentByDigest(origin: ImageOrigin): Promise<StoredImage | undefined> {
    if (origin.kind !== 'registry' || origin.reference.digest === '') return undefined;
    const name = `${imageName(origin.reference)}@${origin.reference.digest}`;
    const image = this.#find(name);
    if (!image?.publicDigests.includes(name)) return undefined;
    if (!isWhole(image, this.#layers, this.#blobs)) return undefined;
    const policy = await this.#options.readPolicy?.();
    const demands = await policy?.demandsOf(origin);
    if (demands?.acceptsAnything === false) return undefined;
    return this.#images.get(image.id);
  }

  /** Fetches what is missing of an image, and makes it one of the store's. */
  async #take(
    open: () => ImageSource | Promise<ImageSource>,
    { origin, auth }: { origin: ReadOrigin; auth: RegistryAuth | null },
    signal: AbortSignal,
    progress: PullProgress,
  ): Promise<StoredImage> {
    const { openRegistry, readPolicy } = this.#options;
    const policy = await readPolicy?.();
    const demands = await policy?.demandsOf(origin);
    const pulling = pullImage(
      {
        source: await open(),
        layers: this.#layers,
        blobs: this.#blobs,
        platforms: this.#options.platforms ?? platformsOf(process.arch),
        admit: async (digests) => {
          const siblings = openSibling(openRegistry, origin, auth);
          await demands?.check({ digests, openSibling: siblings, signal });
        },
        isPublic: origin.kind === 'registry' && auth === null,
        signal,
        progress,
      },
      (pulled) => this.#changes.run(CHANGES, () => this.#commit(pulled)),
    );
    return this.#giveBackSpace(pulling);
  }

  /** What a failed pull has got stays for its repeat, but not when the disk is too small for all of it. */
  async #giveBackSpace(pulling: Promise<StoredImage>): Promise<StoredImage> {
    try {
      return await pulling;
    } catch (error) {
      const isFull = error instanceof RuntimeError && error.kind === 'resource-exhausted';
      if (isFull) await this.#changes.run(CHANGES, () => this.#collect()).catch(() => undefined);
      throw error;
    }
  }

  /** Blobs first, the record last; names that another image had move in memory after that. */
  async #commit(pulled: PulledImage): Promise<StoredImage> {
    const { record, blobs } = pulled;
    if (this.#newer.has(record.id)) {
      throw new RuntimeError(
        'failed-precondition',
        `a newer version of the agent has pulled image ${record.id}: run that version, or remove its record`,
      );
    }
    const listed = this.#images.get(record.id);
    if (listed && isKnown(pulled, listed, this.#blobs)) return listed;
    for (const [digest, bytes] of blobs) await this.#blobs.write(digest, bytes);
    const before = listed ?? this.#withheld.get(record.id)?.image;
    const image = mergePulled(before, pulled, this.#blobs, this.#nextSequence());
    await this.#records.save(image);
    this.#withheld.delete(image.id);
    this.#images.set(image.id, image);
    await this.#takeTags(image);
    this.#names.index(this.#images.values());
    this.#measurer.soon();
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
    onStart?.(progress);
    try {
      const from = { origin: { kind: 'archive' as const, path, name: '' }, auth: null };
      const image = await this.#take(() => source, from, signal, progress);
      if (tags.length > 1) {
        await this.#changes.run(CHANGES, () => this.#addTags(this.#known(image.id), tags));
      }
      return { id: image.id, names: tags };
    } catch (error) {
      // Nobody asks for the same again, as for a pull: nothing of it stays.
      await this.#changes.run(CHANGES, () => this.#collect()).catch(() => undefined);
      throw wrap(error, `cannot load ${progress.reference}`);
    }
  }

  async #addTags(image: StoredImage, tags: readonly string[]): Promise<StoredImage> {
    const tagged = {
      ...image,
      repoTags: [...new Set([...image.repoTags, ...tags])],
      sequence: this.#nextSequence(),
    };
    await this.#records.save(tagged);
    this.#images.set(tagged.id, tagged);
    await this.#takeTags(tagged);
    this.#names.index(this.#images.values());
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
      try {
        await this.#records.save(changed);
      } catch {
        // On a full disk the sequence alone says at the next start whose the tag is.
      }
    }
  }

  #nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  #find(reference: string): StoredImage | undefined {
    const id = this.#names.find(reference);
    return id === undefined ? undefined : this.#images.get(id);
  }

  #known(reference: string): StoredImage {
    const image = this.#find(reference);
    if (image) return image;
    throw new RuntimeError('not-found', `there is no image ${JSON.stringify(reference)}`);
  }

  /** The full form of a reference by which an image is found as its tag. */
  #tagOf(reference: string): string | undefined {
    if (!this.#names.isName(reference)) return undefined;
    const parsed = parseImageReference(reference);
    return parsed.digest === '' ? formatImageReference(parsed) : undefined;
  }

  get #parts(): ExportParts {
    const { unpack, pushImage } = this.#options;
    return { blobs: this.#blobs, unpack, pushImage, temporaryFolder: this.#temporary };
  }

  get #temporary(): string {
    return join(this.#options.root, 'tmp');
  }

  /** Not listed from now on; containers of it go on. False when it is not there any more. */
  #withhold({ id }: StoredImage, reason: string): Promise<boolean> {
    return this.#changes.run(CHANGES, () => {
      const image = this.#images.get(id);
      if (!image) return false;
      this.#images.delete(id);
      this.#withheld.set(id, { image, reason });
      this.#names.index(this.#images.values());
      return true;
    });
  }

  #giveBack(id: ImageId): Promise<void> {
    return this.#changes.run(CHANGES, async () => {
      const found = this.#withheld.get(id);
      // Pulled again meanwhile.
      if (!found) return;
      this.#withheld.delete(id);
      this.#images.set(id, found.image);
      // Its tags may be another's by now.
      const later = [...this.#images.values()].filter(
        (each) => each.sequence > found.image.sequence,
      );
      for (const image of later) await this.#takeTags(image);
      this.#names.index(this.#images.values());
    });
  }

  #setAside(id: ImageId, reason: string): Promise<boolean> {
    return this.#changes.run(CHANGES, async () => {
      const image = this.#images.get(id) ?? this.#withheld.get(id)?.image;
      if (!image) return false;
      await this.#records.putAside(id, image, reason);
      this.#images.delete(id);
      this.#withheld.delete(id);
      this.#names.index(this.#images.values());
      return true;
    });
  }

  /** With a record we cannot read, everything stays; and before it is known what containers stand on. */
  async #collect(): Promise<void> {
    if (this.#newer.size > 0 || !this.#inUse) return;
    const withheld = [...this.#withheld.values()].map(({ image }) => image);
    const images = [...this.#images.values(), ...withheld];
    const inUse = this.#inUse();
    await this.#artifacts.collect(new Set([...images.map(({ id }) => id), ...inUse]));
    const { setAside } = this.#records;
    await collectGarbage(this.#blobs, this.#layers, { images, setAside, inUse });
  }
}
