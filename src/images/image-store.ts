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
  LoadedImage,
  LoadOptions,
  PullOptions,
  PushedImage,
  PushOptions,
  RegistryAuth,
} from '../core/ports/images.js';
import type { OwnedFd } from '../core/ports/network.js';
import type { UnreadableFile } from '../core/ports/state.js';
import type { LayerStorage } from '../core/ports/storage.js';
import type { PullReport, PullUnderWay } from '../core/pull-progress.js';
import { KeyedMutex } from '../util/keyed-mutex.js';
import { mountpointOf } from '../util/mountinfo.js';
import { removeTree } from '../util/remove-tree.js';
import { ArtifactFolders, type MountVolume } from './store/artifact-folders.js';
import { BlobStore } from './store/blob-store.js';
import { Catalog } from './store/catalog.js';
import { CleanEnd } from './store/clean-end.js';
import { collectGarbage } from './store/collection.js';
import { checkStore } from './store/image-check.js';
import { findFault } from './store/image-fault.js';
import { parseImageOrigin, type ImageOrigin, type ReadOrigin } from './source/image-origin.js';
import { imageDetails } from './store/image-details.js';
import { pushStored, saveStored, type ExportParts } from './image-export.js';
import { loadArchive } from './archive/image-load.js';
import { isWhole } from './pull/image-presence.js';
import { ImageRecords, type StoredImage } from './store/image-records.js';
import type { ArchivedImage, ImageSource } from './source/image-source.js';
import { LayerMeasurer } from './store/layer-measurer.js';
import { LayerStore } from './store/layer-store.js';
import { requireAllowedSource } from './source/local-sources.js';
import { openSibling, openSource, type OpenRegistry } from './source/image-origin-source.js';
import { ImageTemplates } from './template/image-templates.js';
import { PullProgress } from './pull/pull-progress.js';
import { SharedPulls } from './pull/shared-pulls.js';
import { pullImage } from './pull/pull-work.js';
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
  /** Asked anew for each pull: files that pods may name. Without it all of them. */
  readLocalSources?: () => readonly string[];
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
const QUIET_MS = 1000;

interface Parts {
  catalog: Catalog;
  layers: LayerStore;
  blobs: BlobStore;
  cleanEnd: CleanEnd;
  mountpoint: string;
}

export class FolderImageStore implements ImageStore {
  readonly #options: ImageStoreOptions;
  readonly #catalog: Catalog;
  readonly #layers: LayerStore;
  readonly #blobs: BlobStore;
  readonly #artifacts: ArtifactFolders;
  readonly #cleanEnd: CleanEnd;
  readonly #pulls: SharedPulls;
  readonly #changes = new KeyedMutex();
  readonly #templates: ImageTemplates;
  readonly #mountpoint: string;
  readonly #measurer: LayerMeasurer;
  #inUse: (() => ReadonlySet<ImageId>) | undefined;

  private constructor(options: ImageStoreOptions, parts: Parts) {
    this.#options = options;
    const { unpack, storageConfig } = options;
    this.#templates = new ImageTemplates({
      unpack,
      temporaryFolder: this.#temporary,
      ...(storageConfig !== undefined && { storageConfig }),
    });
    this.#pulls = new SharedPulls(options.onPullEnd);
    this.#catalog = parts.catalog;
    this.#layers = parts.layers;
    this.#blobs = parts.blobs;
    this.#artifacts = new ArtifactFolders(
      join(options.root, 'artifacts'),
      this.#temporary,
      parts.blobs,
      options.mountVolume,
    );
    this.#cleanEnd = parts.cleanEnd;
    this.#mountpoint = parts.mountpoint;
    this.#measurer = new LayerMeasurer({
      layers: parts.layers,
      isBusy: () => !this.#pulls.isIdle || this.#cleanEnd.isCheckDue,
      quietMs: options.quietMs ?? QUIET_MS,
    });
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
    const catalog = await Catalog.open(new ImageRecords(root), blobs, (image) =>
      findFault(image, layers, blobs),
    );
    const mountpoint = mountpointOf(await realpath(root));
    const cleanEnd = await CleanEnd.open(join(root, 'running'), options.bootId);
    return new FolderImageStore(options, { catalog, layers, blobs, cleanEnd, mountpoint });
  }

  /** The agent ends in order; pulls have ended. */
  async close(): Promise<void> {
    await this.#measurer.close();
    await this.#cleanEnd.close();
  }

  async pull(
    reference: string,
    auth: RegistryAuth | null,
    options: PullOptions,
  ): Promise<ImageRecord> {
    const origin = parseImageOrigin(reference);
    const localSources = this.#options.readLocalSources?.();
    if (localSources && options.anyFile !== true) {
      await requireAllowedSource(reference, origin, localSources);
    }
    // Callers with other credentials may have other rights: they do not share.
    const key = JSON.stringify([origin, origin.kind === 'registry' ? auth : null]);
    return this.#pulls.run(key, reference, options, (signal, progress) =>
      this.#pull(origin, auth, signal, progress),
    );
  }

  pullsUnderWay(): PullUnderWay[] {
    return this.#pulls.list();
  }

  async tag(reference: string, name: string): Promise<ImageRecord> {
    const tag = parseImageReference(name);
    if (tag.digest !== '') {
      throw new RuntimeError('invalid-argument', `${name} has a digest: give a name with a tag`);
    }
    return this.#change(() =>
      this.#catalog.addTags(this.#catalog.known(reference), [formatImageReference(tag)]),
    );
  }

  async push(
    reference: string,
    destination: string,
    auth: RegistryAuth | null,
    options: PushOptions,
  ): Promise<PushedImage> {
    return pushStored(this.#parts, this.#catalog.known(reference), destination, auth, options);
  }

  async *save(
    references: readonly string[],
    format: ArchiveFormat,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const chosen = references.map((reference) => ({
      image: this.#catalog.known(reference),
      tag: this.#catalog.tagOf(reference),
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
    return imageDetails(this.#blobs, this.#layers, this.#catalog.known(id));
  }

  find(reference: string): ImageRecord | undefined {
    return this.#catalog.find(reference);
  }

  list(): ImageRecord[] {
    return this.#catalog.list();
  }

  async mountArtifact(id: ImageId, subPath: string): Promise<OwnedFd> {
    const { files = [] } = this.#catalog.known(id);
    return this.#artifacts.mount(id, files, subPath);
  }

  async remove(id: ImageId): Promise<number> {
    return this.#change(async () => {
      if (!this.#catalog.get(id)) return 0;
      const { usedBytes } = await this.usage();
      await this.#catalog.remove(id);
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
    await this.#change(() => this.#collect());
    this.#measurer.soon();
  }

  dueCheck(): CheckDepth | null {
    if (this.#cleanEnd.isCheckDue) return 'listing';
    return this.#catalog.withheld().length > 0 ? 'known' : null;
  }

  /** One at a time. Meanwhile nothing is measured: what is damaged would be taken for what was unpacked. */
  async check(options: CheckOptions): Promise<ImageCheck> {
    return this.#measurer.without(() => this.#check(options));
  }

  async #check(options: CheckOptions): Promise<ImageCheck> {
    options.signal?.throwIfAborted();
    options.enough?.throwIfAborted();
    const result = await checkStore(
      {
        blobs: this.#blobs,
        layers: this.#layers,
        images: () => this.#catalog.list(),
        withheld: () => this.#catalog.withheld(),
        withhold: ({ id }, reason) => this.#change(() => this.#catalog.withhold(id, reason)),
        giveBack: (id) => this.#change(() => this.#catalog.giveBack(id)),
        quarantine: (id, reason) => this.#change(() => this.#catalog.quarantine(id, reason)),
      },
      options,
    );
    if (options.depth !== 'known' && !options.images) await this.#cleanEnd.checked();
    await this.#change(() => this.#collect());
    return result;
  }

  unreadable(): UnreadableFile[] {
    return this.#catalog.unreadable();
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
    const image = this.#catalog.find(name);
    if (!image?.publicDigests.includes(name)) return undefined;
    if (!isWhole(image, this.#layers, this.#blobs)) return undefined;
    const policy = await this.#options.readPolicy?.();
    const demands = await policy?.demandsOf(origin);
    if (demands?.acceptsAnything === false) return undefined;
    return this.#catalog.get(image.id);
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
      (pulled) => this.#change(() => this.#catalog.add(pulled)),
    );
    const image = await this.#giveBackSpace(pulling);
    this.#measurer.soon();
    return image;
  }

  /** What a failed pull has got stays for its repeat, but not when the disk is too small for all of it. */
  async #giveBackSpace(pulling: Promise<StoredImage>): Promise<StoredImage> {
    try {
      return await pulling;
    } catch (error) {
      const isFull = error instanceof RuntimeError && error.kind === 'resource-exhausted';
      if (isFull) await this.#change(() => this.#collect()).catch(() => undefined);
      throw error;
    }
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
        await this.#change(() => this.#catalog.addTags(this.#catalog.known(image.id), tags));
      }
      return { id: image.id, names: tags };
    } catch (error) {
      // Nobody asks for the same again, as for a pull: nothing of it stays.
      await this.#change(() => this.#collect()).catch(() => undefined);
      throw wrap(error, `cannot load ${progress.reference}`);
    }
  }

  get #parts(): ExportParts {
    const { unpack, pushImage } = this.#options;
    return { blobs: this.#blobs, unpack, pushImage, temporaryFolder: this.#temporary };
  }

  get #temporary(): string {
    return join(this.#options.root, 'tmp');
  }

  /** Names, tags and files change one at a time. */
  #change<T>(work: () => T | Promise<T>): Promise<T> {
    return this.#changes.run('', work);
  }

  /** With a record we cannot read, everything stays; and before it is known what containers stand on. */
  async #collect(): Promise<void> {
    if (this.#catalog.hasNewer || !this.#inUse) return;
    const images = this.#catalog.all();
    const inUse = this.#inUse();
    await this.#artifacts.collect(new Set([...images.map(({ id }) => id), ...inUse]));
    const { setAside } = this.#catalog;
    await collectGarbage(this.#blobs, this.#layers, { images, setAside, inUse });
  }
}
