/** Files that are either the old or the new one, whole, whatever kills the process or the machine. */
import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

const TEMPORARY = /^\..+\.[0-9]+-[0-9]+\.tmp$/;
let counter = 0;

/** Tells the leftovers of a write that was killed before its rename. */
export function isTemporaryName(name: string): boolean {
  return TEMPORARY.test(name);
}

/**
 * Replaces a file: temporary file beside it, fsync, rename, fsync of the folder. The folder's fsync is
 * what makes the rename itself survive a power cut (fsync(2), NOTES). On failure no temporary is left.
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  mode = 0o600,
): Promise<void> {
  const folder = dirname(path);
  counter += 1;
  const temporary = join(folder, `.${basename(path)}.${process.pid}-${counter}.tmp`);
  try {
    // wx is O_CREAT|O_EXCL, which never follows a symlink.
    const file = await open(temporary, 'wx', mode);
    try {
      await file.chmod(mode);
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(folder);
}

/** Makes names added to, renamed in and removed from a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
