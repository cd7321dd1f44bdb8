/** Files that are either the old or the new one, whole, whatever kills the process or the machine. */
import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

const TEMPORARY = /^\..+\.([0-9a-f]{12})-[0-9]+\.tmp$/;
// Not the pid: after a kill the next life may get the same one, and meet its own old names.
const life = randomBytes(6).toString('hex');
let counter = 0;

/** Tells what a write left that was killed before its rename; false for writes under way. */
export function isTemporaryName(name: string): boolean {
  const owner = TEMPORARY.exec(name)?.[1];
  return owner !== undefined && owner !== life;
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
  await replaceFile(path, content, mode, true);
  await syncFolder(dirname(path));
}

/**
 * The same without a wait for the disk: whole after any death of the process. After a power cut the
 * file is the new one, the old one, absent or empty (delayed allocation, ext4(5)).
 */
export async function writeFileSoon(path: string, content: string | Uint8Array): Promise<void> {
  await replaceFile(path, content, 0o600, false);
}

async function replaceFile(
  path: string,
  content: string | Uint8Array,
  mode: number,
  sync: boolean,
): Promise<void> {
  const folder = dirname(path);
  counter += 1;
  const temporary = join(folder, `.${basename(path)}.${life}-${counter}.tmp`);
  try {
    // wx is O_CREAT|O_EXCL, which never follows a symlink.
    const file = await open(temporary, 'wx', mode);
    try {
      // The umask takes away from what others may do; nobody's takes from the owner.
      if ((mode & 0o077) !== 0) await file.chmod(mode);
      await file.writeFile(content);
      if (sync) await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
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
