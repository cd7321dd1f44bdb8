/** Counts bytes and inodes of a folder that a container writes to meanwhile. */
import { lstat, opendir } from 'node:fs/promises';
import { isSystemError } from '../core/errors.js';

/** A container may make as many files as it likes; our time and memory are bounded all the same. */
const MOST_ENTRIES = 2_000_000;
const MOST_QUEUED_CHARACTERS = 64 << 20;
const BLOCK = 512;

export class TreeCount {
  /** As allocated on disk, hard links once. Lower bounds until `run` has returned. */
  bytes = 0;
  inodes = 0;
  readonly #folders: string[];
  readonly #linked = new Set<number>();
  #queuedCharacters = 0;

  constructor(path: string) {
    this.#folders = [path];
  }

  /** What vanishes or cannot be read counts nothing. */
  async run(): Promise<void> {
    for (let path = this.#folders.pop(); path !== undefined; path = this.#folders.pop()) {
      const folder = path;
      this.#queuedCharacters -= folder.length;
      await readable(async () => {
        for await (const entry of await opendir(folder)) {
          if (this.inodes >= MOST_ENTRIES) return;
          const child = `${folder}/${entry.name}`;
          await readable(() => this.#add(child, entry.isDirectory()));
        }
      });
    }
  }

  async #add(path: string, isFolder: boolean): Promise<void> {
    const status = await lstat(path);
    if (!isFolder && status.nlink > 1) {
      if (this.#linked.has(status.ino)) return;
      this.#linked.add(status.ino);
    }
    this.bytes += status.blocks * BLOCK;
    this.inodes += 1;
    if (isFolder && this.#queuedCharacters < MOST_QUEUED_CHARACTERS) {
      this.#queuedCharacters += path.length;
      this.#folders.push(path);
    }
  }
}

async function readable(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    // Removed while it was read, deeper than a path can say, or damaged.
    if (!isSystemError(error)) throw error;
  }
}
