/** Which images there are: their records, and the names they are found by. One change at a time: callers see to that. */
import { RuntimeError } from '../../core/errors.js';
import type { ImageId } from '../../core/ids.js';
import { formatImageReference, parseImageReference } from '../../core/image-reference.js';
import type { UnreadableFile } from '../../core/ports/state.js';
import { isKnown, mergePulled } from '../pull/image-presence.js';
import type { PulledImage } from '../pull/pull-work.js';
import type { BlobStore } from './blob-store.js';
import { ImageNames } from './image-names.js';
import type { ImageRecords, StoredImage } from './image-records.js';

export interface WithheldImage {
  image: StoredImage;
  reason: string;
}

export class Catalog {
  readonly #records: ImageRecords;
  readonly #blobs: BlobStore;
  readonly #newer: ReadonlyMap<string, UnreadableFile>;
  readonly #images = new Map<ImageId, StoredImage>();
  /** Not listed while what they lack is made again. */
  readonly #withheld = new Map<ImageId, WithheldImage>();
  readonly #names = new ImageNames();
  #sequence = 0;

  private constructor(
    records: ImageRecords,
    blobs: BlobStore,
    { images, mendable, newer }: Awaited<ReturnType<ImageRecords['load']>>,
  ) {
    this.#records = records;
    this.#blobs = blobs;
    this.#newer = newer;
    for (const image of images) this.#images.set(image.id, image);
    for (const found of mendable) this.#withheld.set(found.image.id, found);
    for (const { sequence } of this.all()) this.#sequence = Math.max(this.#sequence, sequence);
  }

  static async open(
    records: ImageRecords,
    blobs: BlobStore,
    findFault: Parameters<ImageRecords['load']>[0],
  ): Promise<Catalog> {
    const loaded = await records.load(findFault);
    const catalog = new Catalog(records, blobs, loaded);
    // In order of sequence: a tag that two records have after a crash goes to the later one.
    for (const image of loaded.images) await catalog.#takeTags(image);
    catalog.#index();
    return catalog;
  }

  list(): StoredImage[] {
    return [...this.#images.values()];
  }

  withheld(): WithheldImage[] {
    return [...this.#withheld.values()];
  }

  /** Listed or not. */
  all(): StoredImage[] {
    return [...this.list(), ...this.withheld().map(({ image }) => image)];
  }

  /** Whether there are records that only a newer version can read: what they need is unknown. */
  get hasNewer(): boolean {
    return this.#newer.size > 0;
  }

  get(id: ImageId): StoredImage | undefined {
    return this.#images.get(id);
  }

  find(reference: string): StoredImage | undefined {
    const id = this.#names.find(reference);
    return id === undefined ? undefined : this.#images.get(id);
  }

  known(reference: string): StoredImage {
    const image = this.find(reference);
    if (image) return image;
    throw new RuntimeError('not-found', `there is no image ${JSON.stringify(reference)}`);
  }

  /** The full form of a reference by which an image is found as its tag. */
  tagOf(reference: string): string | undefined {
    if (!this.#names.isName(reference)) return undefined;
    const parsed = parseImageReference(reference);
    return parsed.digest === '' ? formatImageReference(parsed) : undefined;
  }

  unreadable(): UnreadableFile[] {
    return [
      ...this.#newer.values(),
      ...[...this.#records.setAside.values()].map(({ file }) => file),
      ...this.withheld().map(({ image, reason }) => ({
        path: this.#records.path(image.id),
        reason,
      })),
    ];
  }

  /** Blobs first, the record last; names that another image had move in memory after that. */
  async add(pulled: PulledImage): Promise<StoredImage> {
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
    return this.#save(mergePulled(before, pulled, this.#blobs, this.#nextSequence()));
  }

  async addTags(image: StoredImage, tags: readonly string[]): Promise<StoredImage> {
    const repoTags = [...new Set([...image.repoTags, ...tags])];
    return this.#save({ ...image, repoTags, sequence: this.#nextSequence() });
  }

  /** The record goes first, and only then the image from memory: a disk that refuses leaves it as it was. */
  async remove(id: ImageId): Promise<void> {
    await this.#records.remove(id);
    this.#images.delete(id);
    this.#index();
  }

  /** Not listed from now on; containers of it go on. False when it is not there any more. */
  withhold(id: ImageId, reason: string): boolean {
    const image = this.#images.get(id);
    if (!image) return false;
    this.#images.delete(id);
    this.#withheld.set(id, { image, reason });
    this.#index();
    return true;
  }

  async giveBack(id: ImageId): Promise<void> {
    const found = this.#withheld.get(id);
    // Pulled again meanwhile.
    if (!found) return;
    this.#withheld.delete(id);
    this.#images.set(id, found.image);
    // Its tags may be another's by now.
    const later = this.list().filter(({ sequence }) => sequence > found.image.sequence);
    for (const image of later) await this.#takeTags(image);
    this.#index();
  }

  /** Its record moves to the folder of those that cannot be used. False when it is not there any more. */
  async quarantine(id: ImageId, reason: string): Promise<boolean> {
    const image = this.#images.get(id) ?? this.#withheld.get(id)?.image;
    if (!image) return false;
    await this.#records.putAside(id, image, reason);
    this.#images.delete(id);
    this.#withheld.delete(id);
    this.#index();
    return true;
  }

  /** What was set aside, with what it still needs. */
  get setAside(): ImageRecords['setAside'] {
    return this.#records.setAside;
  }

  async #save(image: StoredImage): Promise<StoredImage> {
    await this.#records.save(image);
    this.#withheld.delete(image.id);
    this.#images.set(image.id, image);
    await this.#takeTags(image);
    this.#index();
    return image;
  }

  /** A tag names one image: whoever had it before keeps its digests alone. */
  async #takeTags(owner: StoredImage): Promise<void> {
    for (const image of this.list()) {
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

  #index(): void {
    this.#names.index(this.#images.values());
  }

  #nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }
}
