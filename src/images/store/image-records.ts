/** The records that say which images are complete. */
import { readFileSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { ImageId } from '../../core/ids.js';
import { hexOf } from '../../core/digest.js';
import { hasCode, wrap } from '../../core/errors.js';
import type { ImageRecord } from '../../core/model.js';
import type { UnreadableFile } from '../../core/ports/state.js';
import { syncFolder, writeFileAtomic } from '../../util/atomic-file.js';

/** On disk a record also says which blobs belong to it, and which of two records is the later one. */
export interface StoredImage extends ImageRecord {
  /** Digests of the index, manifest and config. */
  blobs: string[];
  /** Digests of the compressed layers. Records of before they were kept have none. */
  layerBlobs: string[];
  /** Bytes of each blob, of both kinds. Records of before they were kept have none. */
  blobSizes: [digest: string, bytes: number][];
  /** Those of its repoDigests that a registry has given to somebody without credentials. */
  publicDigests: string[];
  /** Rises with every write: of two records with the same tag, the later has it. */
  sequence: number;
}

export interface LoadedRecords {
  images: StoredImage[];
  /** Images whose record is sound, and which lack something that can be made again from what is there. */
  mendable: { image: StoredImage; reason: string }[];
  /** Ids whose records an agent of a newer version wrote: left as they are, with all layers. */
  newer: Map<string, UnreadableFile>;
}

/** Why a record is not used as it is. Those that are damaged are set aside, the others left where they are. */
export interface Fault {
  reason: string;
  kind: 'newer' | 'mendable' | 'damaged';
}

/** A record that was set aside; `image` is null where it cannot be read. */
export interface SetAside {
  file: UnreadableFile;
  image: StoredImage | null;
}

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const pairs = z.array(z.tuple([z.string(), z.string()]));
const schema = z.object({
  version: z.literal(1),
  id: digest.transform((id) => id as ImageId),
  repoTags: z.array(z.string()),
  repoDigests: z.array(z.string()),
  size: z.int().positive(),
  layers: z.array(digest),
  files: z.array(z.object({ path: z.string(), digest })).optional(),
  config: z.object({
    user: z.string(),
    env: z.array(z.string()),
    entrypoint: z.array(z.string()),
    cmd: z.array(z.string()),
    workingDir: z.string(),
    volumes: z.array(z.string()),
    stopSignal: z.string(),
    labels: pairs,
  }),
  createdAt: z.string().default(''),
  pulledAt: z
    .string()
    .regex(/^[0-9]+$/)
    .default('0'),
  blobs: z.array(digest),
  layerBlobs: z.array(digest).default([]),
  blobSizes: z.array(z.tuple([digest, z.int().nonnegative()])).default([]),
  publicDigests: z.array(z.string()).default([]),
  sequence: z.int().nonnegative(),
});
const anyVersion = z.object({ version: z.number() });

export class ImageRecords {
  readonly #folder: string;
  readonly #quarantine: string;
  readonly #setAside = new Map<string, SetAside>();

  constructor(imagesRoot: string) {
    this.#folder = join(imagesRoot, 'records');
    this.#quarantine = join(imagesRoot, 'quarantine');
  }

  /** The rename in here is what makes an image exist. What was known against it is over. */
  async save(image: StoredImage): Promise<void> {
    try {
      await writeFileAtomic(this.path(image.id), JSON.stringify(image));
    } catch (error) {
      throw wrap(error, `cannot write the record of image ${image.id} in ${this.#folder}`);
    }
    if (!this.#setAside.delete(image.id)) return;
    for (const path of this.#quarantined(image.id)) await rm(path, { force: true });
  }

  async remove(id: ImageId): Promise<void> {
    try {
      await rm(this.path(id), { force: true });
      await syncFolder(this.#folder);
    } catch (error) {
      throw wrap(error, `cannot remove the record of image ${id} in ${this.#folder}`);
    }
  }

  /** Those that are not used, by id, this agent's finds and those of earlier ones. */
  get setAside(): ReadonlyMap<string, SetAside> {
    return this.#setAside;
  }

  /** `findFault` says what an otherwise sound record lacks, or null. */
  async load(findFault: (image: StoredImage) => Fault | null): Promise<LoadedRecords> {
    await this.#loadQuarantine();
    const loaded: LoadedRecords = { images: [], mendable: [], newer: new Map() };
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name);
      const hex = /^([0-9a-f]{64})\.json$/.exec(name)?.[1];
      if (hex === undefined) {
        // What a write that was killed has left; anything else is somebody's own.
        if (/^\..*\.tmp$/.test(name)) await rm(path, { force: true });
        continue;
      }
      const id = `sha256:${hex}`;
      const read = readRecord(path);
      const image = 'id' in read ? read : null;
      const fault = image ? (nameFault(image, name) ?? findFault(image)) : (read as Fault);
      if (image && fault === null) loaded.images.push(image);
      else if (image && fault?.kind === 'mendable') {
        loaded.mendable.push({ image, reason: fault.reason });
      } else if (fault?.kind === 'newer') loaded.newer.set(id, { path, reason: fault.reason });
      else await this.putAside(id, image, fault?.reason ?? '');
    }
    loaded.images.sort((a, b) => a.sequence - b.sequence);
    return loaded;
  }

  /** Out of the way, but there for whoever wants to know, with the reason beside it. */
  async putAside(id: string, image: StoredImage | null, reason: string): Promise<void> {
    const from = this.path(id);
    const [path, why] = this.#quarantined(id);
    try {
      await mkdir(this.#quarantine, { recursive: true, mode: 0o700 });
      await rename(from, path);
      this.#setAside.set(id, { file: { path, reason }, image });
      await syncFolder(this.#folder);
      await writeFileAtomic(why, `${reason}\n`);
    } catch {
      // A disk that is full or read-only: the next start finds the same, and until then it is not used.
      this.#setAside.set(id, { file: { path: from, reason }, image });
    }
  }

  async #loadQuarantine(): Promise<void> {
    let names: string[];
    try {
      names = await readdir(this.#quarantine);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return;
      throw error;
    }
    for (const name of names.filter((each) => /^[0-9a-f]{64}\.json$/.test(each))) {
      const id = `sha256:${name.slice(0, 64)}`;
      const [path, why] = this.#quarantined(id);
      const read = readRecord(path);
      let reason = 'it was damaged';
      try {
        reason = readFileSync(why, 'utf8').trim();
      } catch {
        // The agent was killed in between.
      }
      this.#setAside.set(id, { file: { path, reason }, image: 'id' in read ? read : null });
    }
  }

  path(id: string): string {
    return join(this.#folder, `${hexOf(id)}.json`);
  }

  /** The record that was set aside, and a text that says why. */
  #quarantined(id: string): [record: string, why: string] {
    return [
      join(this.#quarantine, `${hexOf(id)}.json`),
      join(this.#quarantine, `${hexOf(id)}.reason`),
    ];
  }
}

function readRecord(path: string): StoredImage | Fault {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { reason: `it cannot be read: ${why}`, kind: 'damaged' };
  }
  const version = anyVersion.safeParse(value);
  if (version.success && version.data.version > 1) {
    return { reason: 'a newer version of the agent wrote it', kind: 'newer' };
  }
  const record = schema.safeParse(value);
  if (record.success) return record.data;
  return { reason: `it is damaged: ${z.prettifyError(record.error)}`, kind: 'damaged' };
}

function nameFault(image: StoredImage, name: string): Fault | null {
  if (name === `${hexOf(image.id)}.json`) return null;
  return { reason: `it is the record of image ${image.id}`, kind: 'damaged' };
}
