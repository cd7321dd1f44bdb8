/** An LVM thin pool on a loop device, where the kernel and lvm2 allow. */
import { execFileSync, type ExecFileSyncOptionsWithStringEncoding } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { loadAddon } from '../../src/native/binding.js';
import { ProcessSpawner } from '../../src/native/process.js';
import { ThinVolumes, type ThinVolumesOptions } from '../../src/storage/thin-volumes.js';
import { VolumeStorage } from '../../src/storage/volume-storage.js';

export interface ThinPool {
  /** Where its file is. */
  folder: string;
  group: string;
  pool: string;
  /** In the group, by lvm2. */
  run: (program: string, ...args: string[]) => string;
  /** The driver on it, as an agent opens it. */
  open: (options?: Partial<ThinVolumesOptions>) => Promise<VolumeStorage>;
  /** Removes the driver's volumes but the empty one. */
  clear: () => void;
  destroy: () => void;
}

const POOL = 'thin';
export const VOLUME_BYTES = 16 << 20;

/** Text is the reason why there can be none here. */
export function makeThinPool(poolBytes: number): ThinPool | string {
  const reason = whyNoThinPool();
  if (reason !== undefined) return reason;
  const folder = mkdtempSync('/dev/shm/pvecri-pool-');
  const spawner = new ProcessSpawner(loadAddon());
  let device = '';
  const group = `pvecri_test_${process.pid}`;
  const destroy = (): void => {
    spawner.close();
    try {
      run('vgremove', '--force', '--quiet', group);
    } finally {
      if (device !== '') run('losetup', '--detach', device);
      rmSync(folder, { recursive: true });
    }
  };
  try {
    const file = join(folder, 'disk');
    const fd = openSync(file, 'w');
    // Room for LVM's own, the pool's metadata and the spare of that.
    ftruncateSync(fd, poolBytes + (32 << 20));
    closeSync(fd);
    device = run('losetup', '--find', '--show', file).trim();
    run('vgcreate', '--quiet', '--physicalextentsize', '1m', group, device);
    run(
      'lvcreate',
      ...['--quiet', '--type', 'thin-pool', '--size', `${poolBytes}b`, '--chunksize', '64k'],
      ...['--poolmetadatasize', '4m', '--name', POOL, group],
    );
    // Else what writes to a full pool waits for a minute.
    run('lvchange', '--quiet', '--errorwhenfull', 'y', `${group}/${POOL}`);
  } catch (error) {
    destroy();
    throw error;
  }
  return {
    folder,
    group,
    pool: POOL,
    run,
    open: async (options = {}) => {
      const volumes = await ThinVolumes.open({
        ...{ spawner, addon: loadAddon(), volumeGroup: group, pool: POOL },
        ...{ sizeBytes: VOLUME_BYTES, owner: 'test', ...options },
      });
      return VolumeStorage.open({ volumes, addon: loadAddon(), root: folder });
    },
    clear: () => {
      const others = 'tags=pvecri && lv_name!=pvecri-base';
      run('lvremove', '--force', '--quiet', '--select', others, group);
    },
    destroy,
  };
}

function whyNoThinPool(): string | undefined {
  try {
    run('modprobe', '-a', 'loop', 'dm_thin_pool');
  } catch {
    // Perhaps they are there nevertheless.
  }
  try {
    return /^thin-pool /m.test(run('dmsetup', 'targets'))
      ? undefined
      : 'no thin pools in the kernel';
  } catch (error) {
    return `no device mapper here: ${(error as Error).message.trim().split('\n').at(-1) ?? ''}`;
  }
}

function run(program: string, ...args: string[]): string {
  const options: ExecFileSyncOptionsWithStringEncoding = {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', LVM_SUPPRESS_FD_WARNINGS: '1' },
  };
  return execFileSync(program, args, options);
}
