/** The records that say which images are complete. */
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { ImageId } from '../core/ids.js';
import { hexOf } from '../core/digest.js';
import type { ImageRecord } from '../core/model.js';
import { isTemporaryName, syncFolder, writeFileAtomic } from '../util/atomic-file.js';

/** On disk a record also says which blobs belong to it, and which of two records is the later one. */
export interface StoredImage extends ImageRecord {
  /** Digests of the index, manifest and config. */
  blobs: string[];
  /** Digests of the compressed layers. Records of before they were kept have none. */
  layerBlobs: string[];
  /** Rises with every write: of two records with the same tag, the later has it. */
  sequence: number;
}

export interface LoadedRecords {
  images: StoredImage[];
  unreadable: { path: string; reason: string }[];
  /** Ids whose records an agent of a newer version wrote: left as they are, with all layers. */
  newer: Set<string>;
}

/** Why a record is not used. One of a newer agent is left where it is, the others are set aside. */
export interface Fault {
  reason: string;
  isNewer: boolean;
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
  sequence: z.int().nonnegative(),
});
const anyVersion = z.object({ version: z.number() });

export class ImageRecords {
  readonly #folder: string;
  readonly #quarantine: string;

  constructor(imagesRoot: string) {
    this.#folder = join(imagesRoot, 'records');
    this.#quarantine = join(imagesRoot, 'quarantine');
  }

  /** The rename in here is what makes an image exist. */
  async save(image: StoredImage): Promise<void> {
    await writeFileAtomic(this.#path(image.id), JSON.stringify(image));
  }

  async remove(id: ImageId): Promise<void> {
    await rm(this.#path(id), { force: true });
    await syncFolder(this.#folder);
  }

  /** `findFault` says what an otherwise sound record lacks, or null. */
  async load(findFault: (image: StoredImage) => Fault | null): Promise<LoadedRecords> {
    const loaded: LoadedRecords = { images: [], unreadable: [], newer: new Set() };
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name);
      if (isTemporaryName(name)) {
        await rm(path);
        continue;
      }
      const image = await readRecord(path);
      const fault = 'reason' in image ? image : (nameFault(image, name) ?? findFault(image));
      if (fault === null) {
        if ('id' in image) loaded.images.push(image);
      } else if (fault.isNewer) {
        loaded.newer.add(`sha256:${name.replace(/\.json$/, '')}`);
        loaded.unreadable.push({ path, reason: fault.reason });
      } else {
        loaded.unreadable.push({ path: await this.#setAside(name), reason: fault.reason });
      }
    }
    loaded.images.sort((a, b) => a.sequence - b.sequence);
    return loaded;
  }

  /** Out of the way, but there for whoever wants to know. */
  async #setAside(name: string): Promise<string> {
    await mkdir(this.#quarantine, { recursive: true, mode: 0o700 });
    const path = join(this.#quarantine, name);
    await rename(join(this.#folder, name), path);
    return path;
  }

  #path(id: ImageId): string {
    return join(this.#folder, `${hexOf(id)}.json`);
  }
}

async function readRecord(path: string): Promise<StoredImage | Fault> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { reason: `it cannot be read: ${why}`, isNewer: false };
  }
  const version = anyVersion.safeParse(value);
  if (version.success && version.data.version > 1) {
    return { reason: 'a newer version of the agent wrote it', isNewer: true };
  }
  const record = schema.safeParse(value);
  if (record.success) return record.data;
  return { reason: `it is damaged: ${z.prettifyError(record.error)}`, isNewer: false };
}

function nameFault(image: StoredImage, name: string): Fault | null {
  if (name === `${hexOf(image.id)}.json`) return null;
  return { reason: `it is the record of image ${image.id}`, isNewer: false };
}
