/** Device nodes on the host, found by path: one, or all in a folder. */
import type { Dirent, Stats } from 'node:fs';
import { lstat, readdir, realpath } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { HostDevice } from './core/devices.js';
import { hasCode, RuntimeError, wrap } from './core/errors.js';

/** Folders of /dev with file systems of their own, which a container has its own of. */
const SKIPPED_FOLDERS = new Set(['pts', 'shm', 'fd', 'mqueue', '.lxc', '.lxd-mounts', '.udev']);
const SKIPPED_FILES = new Set(['console']);
/** A folder that holds more is no folder of devices. */
const MAX_ENTRIES = 20_000;

/** A symlink is followed to what it names; in a folder symlinks are passed over, as in /dev/disk. */
export async function findDevices(path: string): Promise<HostDevice[]> {
  try {
    const real = await realpath(path);
    const stats = await lstat(real);
    if (stats.isDirectory()) return await devicesBelow(real);
    const device = toDevice(real, '', stats);
    if (device) return [device];
  } catch (error) {
    if (error instanceof RuntimeError) throw error;
    const kind = hasCode(error, 'ENOENT', 'ENOTDIR') ? 'not-found' : 'failed-precondition';
    throw wrap(error, `cannot use device host_path ${path}`, kind);
  }
  throw new RuntimeError(
    'invalid-argument',
    `device host_path ${path} is not a device: name a block or character device, or a folder of them`,
  );
}

async function devicesBelow(root: string): Promise<HostDevice[]> {
  const found: HostDevice[] = [];
  let entries = 0;
  const visit = async (folder: string, name: string): Promise<void> => {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if ((entries += 1) > MAX_ENTRIES) {
        throw new RuntimeError(
          'invalid-argument',
          `device host_path ${root} holds over ${MAX_ENTRIES} files: name a folder of devices`,
        );
      }
      const path = join(folder, entry.name);
      if (entry.isDirectory()) {
        if (!SKIPPED_FOLDERS.has(entry.name)) await visit(path, join(name, entry.name));
      } else if (isDevice(entry) && !SKIPPED_FILES.has(basename(path))) {
        const device = await deviceAt(path, join(name, entry.name));
        if (device) found.push(device);
      }
    }
  };
  await visit(root, '');
  return found;
}

/** undefined for one that was unplugged since the folder was read. */
async function deviceAt(path: string, name: string): Promise<HostDevice | undefined> {
  try {
    return toDevice(path, name, await lstat(path));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

function isDevice(file: Dirent | Stats): boolean {
  return file.isBlockDevice() || file.isCharacterDevice();
}

function toDevice(path: string, name: string, stats: Stats): HostDevice | undefined {
  if (!isDevice(stats)) return undefined;
  const number = BigInt(stats.rdev);
  return {
    path,
    name,
    type: stats.isBlockDevice() ? 'block' : 'character',
    // gnu_dev_major and gnu_dev_minor of sys/sysmacros.h.
    major: Number(((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xfffff000n)),
    minor: Number((number & 0xffn) | ((number >> 12n) & 0xffffff00n)),
    mode: stats.mode & 0o777,
    uid: stats.uid,
    gid: stats.gid,
  };
}
