/** Content-addressed blobs: indexes, manifests, configs and the compressed layers of whole images. */
import { randomUUID } from 'node:crypto';
import { statSync } from 'node:fs';
import { link, mkdir, open, readdir, rename, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { hexOf } from '../../core/digest.js';
import { hasCode, isSystemError, wrap } from '../../core/errors.js';
import { syncFolder, writeFileAtomic } from '../../util/atomic-file.js';

/** A blob that is on its way in: a file nobody sees until it is committed. */
export interface BlobDraft {
  readonly file: FileHandle;
  /** Makes it durable and visible. Its content must have been verified. */
  commit(): Promise<void>;
  /** Closes the file; removes it unless it was committed. Idempotent. */
  release(): Promise<void>;
}

export interface OpenedBlob {
  file: FileHandle;
  size: number;
}

export class BlobStore {
  readonly #folder: string;
  readonly #temporary: string;
  /** Sizes by digest. */
  readonly #sizes = new Map<string, number>();
  /** How many pulls under way need a blob, there or not. */
  readonly #pins = new Map<string, number>();
  /** Blobs that are being removed. */
  readonly #leaving = new Map<string, Promise<void>>();

  private constructor(folder: string, temporary: string) {
    this.#folder = folder;
    this.#temporary = temporary;
  }

  /** `temporary` is on the same file system, and emptied by its owner at the start. */
  static async open(folder: string, temporary: string): Promise<BlobStore> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const store = new BlobStore(folder, temporary);
    for (const name of await readdir(folder)) {
      if (!/^[0-9a-f]{64}$/.test(name)) await rm(join(folder, name), { force: true });
      else store.#sizes.set(`sha256:${name}`, statSync(join(folder, name)).size);
    }
    return store;
  }

  has(digest: string): boolean {
    return this.#sizes.has(digest);
  }

  /** undefined when it is not there. */
  size(digest: string): number | undefined {
    return this.#sizes.get(digest);
  }

  list(): Iterable<[digest: string, size: number]> {
    return this.#sizes;
  }

  /** undefined when it is not there. The caller closes the file. */
  async openBlob(digest: string): Promise<OpenedBlob | undefined> {
    if (!this.has(digest)) return undefined;
    try {
      const file = await open(this.#path(digest), 'r');
      return { file, size: (await file.stat()).size };
    } catch (error) {
      // It is being removed meanwhile, or was lost.
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  /** Small documents, verified by the caller. */
  async write(digest: string, bytes: Uint8Array): Promise<void> {
    try {
      await this.#leaving.get(digest);
      await writeFileAtomic(this.#path(digest), bytes);
    } catch (error) {
      throw this.cannotKeep(digest, error);
    }
    this.#sizes.set(digest, bytes.length);
  }

  async draft(digest: string): Promise<BlobDraft> {
    const path = join(this.#temporary, `blob-${hexOf(digest)}-${randomUUID()}`);
    let file: FileHandle;
    try {
      file = await open(path, 'wx+', 0o600);
    } catch (error) {
      throw this.cannotKeep(digest, error);
    }
    return {
      file,
      commit: async () => {
        try {
          await file.sync();
          const { size } = await file.stat();
          await this.#leaving.get(digest);
          await rename(path, this.#path(digest));
          await syncFolder(this.#folder);
          this.#sizes.set(digest, size);
        } catch (error) {
          throw this.cannotKeep(digest, error);
        }
      },
      release: async () => {
        await file.close();
        await rm(path, { force: true });
      },
    };
  }

  /** Another name for a blob, on the same file system. */
  async link(digest: string, path: string): Promise<void> {
    await link(this.#path(digest), path);
  }

  /** Keeps blobs from being collected until the returned function is called. */
  pin(digests: readonly string[]): () => void {
    for (const digest of digests) this.#pins.set(digest, (this.#pins.get(digest) ?? 0) + 1);
    return () => {
      for (const digest of digests) {
        const left = (this.#pins.get(digest) ?? 0) - 1;
        if (left > 0) this.#pins.set(digest, left);
        else this.#pins.delete(digest);
      }
    };
  }

  /** What the disk refused, with the blob's name and place; other failures are told as they are. */
  cannotKeep(digest: string, error: unknown): unknown {
    if (!isSystemError(error)) return error;
    return wrap(error, `cannot keep blob ${digest} in ${this.#folder}`);
  }

  /** Takes a blob away that is not what it is called. */
  async discard(digest: string): Promise<void> {
    await this.#remove(digest);
    await syncFolder(this.#folder);
  }

  /** Removes every blob that is neither in `needed` nor pinned. */
  async collect(needed: ReadonlySet<string>): Promise<void> {
    const unneeded = [...this.#sizes.keys()].filter(
      (digest) => !needed.has(digest) && !this.#pins.has(digest),
    );
    if (unneeded.length === 0) return;
    await Promise.all(unneeded.map((digest) => this.#remove(digest)));
    await syncFolder(this.#folder);
  }

  /** A draft of the same blob waits for the end of it. */
  async #remove(digest: string): Promise<void> {
    this.#sizes.delete(digest);
    const leaving = rm(this.#path(digest), { force: true });
    this.#leaving.set(digest, leaving);
    try {
      await leaving;
    } finally {
      this.#leaving.delete(digest);
    }
  }

  #path(digest: string): string {
    return join(this.#folder, hexOf(digest));
  }
}
