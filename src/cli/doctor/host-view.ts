/** What the checks see of the host; tests put a host of their own in its place. */
import { constants } from 'node:fs';
import { access, readFile, readdir, statfs } from 'node:fs/promises';
import { release } from 'node:os';
import { dirname } from 'node:path';

export interface HostView {
  readonly uid: number;
  /** As `uname -r` tells it. */
  readonly kernel: string;
  readonly now: Date;
  /** Undefined when it can't be read. */
  read(path: string): Promise<string | undefined>;
  /** Names in a folder, sorted; undefined when it can't be read. */
  list(path: string): Promise<string[] | undefined>;
  isExecutable(path: string): Promise<boolean>;
  /** Of the filesystem that holds the path, or will. */
  space(path: string): Promise<DiskSpace | undefined>;
}

export interface DiskSpace {
  totalBytes: number;
  freeBytes: number;
  totalInodes: number;
  freeInodes: number;
}

export function realHost(): HostView {
  return {
    uid: process.getuid?.() ?? -1,
    kernel: release(),
    now: new Date(),
    read: (path) => readFile(path, 'utf8').catch(() => undefined),
    list: (path) =>
      readdir(path).then(
        (names) => names.sort(),
        () => undefined,
      ),
    isExecutable: (path) =>
      access(path, constants.X_OK).then(
        () => true,
        () => false,
      ),
    space,
  };
}

async function space(path: string): Promise<DiskSpace | undefined> {
  for (let folder = path; ; folder = dirname(folder)) {
    try {
      const { blocks, bavail, bsize, files, ffree } = await statfs(folder);
      return {
        totalBytes: blocks * bsize,
        freeBytes: bavail * bsize,
        totalInodes: files,
        freeInodes: ffree,
      };
    } catch {
      // Not made yet: its parent's filesystem is where it will be.
      if (folder === '/') return undefined;
    }
  }
}
