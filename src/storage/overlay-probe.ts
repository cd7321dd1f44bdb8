/** Whether overlayfs can have its writable layers on a file system: tried out, at the start. */
import { closeSync } from 'node:fs';
import { mkdir, mkdtemp, rmdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RuntimeError } from '../core/errors.js';
import type { NativeAddon } from '../native/binding.js';
import type { MountedFilesystem } from '../util/mountinfo.js';
import { removeTree } from '../util/remove-tree.js';

/** What is known of those that cannot. */
const REASONS: Readonly<Record<string, string>> = {
  overlay: 'it is an overlay itself, which cannot be the upper one of another',
  tmpfs: 'tmpfs has user.* attributes since Linux 6.6 only',
  nfs: 'it is a network file system',
  nfs4: 'it is a network file system',
  cifs: 'it is a network file system',
  zfs: 'ZFS can since OpenZFS 2.2',
  vfat: 'it has no attributes',
};

export interface OverlayProbe {
  addon: Pick<NativeAddon, 'mountOverlay'>;
  /** An existing folder; what a killed probe leaves there is the caller's to remove at the next start. */
  folder: string;
  filesystem: MountedFilesystem;
}

/** Does what containers do and what needs most of the file system below. */
export async function probeOverlay({ addon, folder, filesystem }: OverlayProbe): Promise<void> {
  const place = await mkdtemp(join(folder, 'probe-'));
  try {
    const [lower, upper, work] = ['lower', 'fs', 'work'].map((name) => join(place, name)) as [
      string,
      string,
      string,
    ];
    for (const path of [lower, upper, work, join(lower, 'd')]) await mkdir(path);
    await writeFile(join(lower, 'file'), 'lower');
    const fd = await addon.mountOverlay({ lower: [lower], upper, work });
    try {
      const merged = `/proc/self/fd/${fd}`;
      // A copy, a whiteout, and a folder that hides one below, which takes an attribute.
      await writeFile(join(merged, 'file'), 'copied', { flag: 'a' });
      await rm(join(merged, 'file'));
      await rmdir(join(merged, 'd'));
      await mkdir(join(merged, 'd'));
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const { type, mountpoint } = filesystem;
    const reason = REASONS[type];
    const cause = error instanceof Error ? error.message : String(error);
    throw new RuntimeError(
      'failed-precondition',
      `overlayfs cannot use ${folder} on ${type} (mounted at ${mountpoint})${
        reason === undefined ? '' : `: ${reason}`
      }: put the folder "root" of the configuration on ext4, XFS or btrfs: ${cause}`,
      error,
    );
  } finally {
    await removeTree(place);
  }
}
