/** A ZFS pool on a file in memory, where the kernel and OpenZFS's programs allow. */
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { loadAddon } from '../../src/native/binding.js';
import { ProcessSpawner } from '../../src/native/process.js';
import { VolumeStorage } from '../../src/storage/volume-storage.js';
import { ZfsVolumes, type ZfsVolumesOptions } from '../../src/storage/zfs-volumes.js';

export interface ZfsPool {
  /** Where its file is. */
  folder: string;
  /** An empty one, the parent of a driver's. */
  dataset: string;
  run: (program: string, ...args: string[]) => string;
  /** The driver on it, as an agent opens it. */
  open: (options?: Partial<ZfsVolumesOptions>) => Promise<VolumeStorage>;
  /** Makes the dataset anew. */
  clear: () => void;
  destroy: () => void;
}

/** Text is the reason why there can be none here. */
export function makeZfsPool(bytes: number): ZfsPool | string {
  try {
    run('zfs', 'version');
    run('zpool', 'list');
  } catch (error) {
    return `no ZFS here: ${(error as Error).message.trim().split('\n').at(-1) ?? ''}`;
  }
  const folder = mkdtempSync('/dev/shm/pvecri-pool-');
  const pool = `pvecri_test_${process.pid}`;
  const dataset = `${pool}/pvecri`;
  const file = join(folder, 'disk');
  const fd = openSync(file, 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
  run('zpool', 'create', '-O', 'mountpoint=none', '-O', 'compression=off', pool, file);
  run('zfs', 'create', dataset);
  const spawner = new ProcessSpawner(loadAddon());
  return {
    folder,
    dataset,
    run,
    open: async (options = {}) => {
      const volumes = await ZfsVolumes.open({
        ...{ spawner, addon: loadAddon(), dataset, sizeLimitBytes: 0, owner: 'test' },
        ...options,
      });
      return VolumeStorage.open({ volumes, addon: loadAddon(), root: folder });
    },
    clear: () => {
      run('zfs', 'destroy', '-R', dataset);
      run('zfs', 'create', dataset);
    },
    destroy: () => {
      spawner.close();
      run('zpool', 'destroy', '-f', pool);
      rmSync(folder, { recursive: true });
    },
  };
}

function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
  });
}
