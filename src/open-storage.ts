/** Opens the storage that the configuration names, where nothing is in another. */
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from './config/schema.js';
import { RuntimeError } from './core/errors.js';
import type { StorageDriver } from './core/ports/storage.js';
import type { NativeAddon } from './native/binding.js';
import type { ProcessSpawner } from './native/process.js';
import { OverlayStorage } from './storage/overlay-storage.js';
import { chooseStorage } from './storage/storage-choice.js';
import { ThinVolumes } from './storage/thin-volumes.js';
import { VolumeStorage } from './storage/volume-storage.js';
import { ZfsVolumes } from './storage/zfs-volumes.js';
import { parseByteSize } from './util/byte-size.js';

export async function openStorage(
  { root, rootfs }: Pick<Config, 'root' | 'rootfs'>,
  addon: NativeAddon,
  spawner: ProcessSpawner,
): Promise<StorageDriver> {
  const { driver, lvm_thin: thin, zfs } = rootfs;
  const sizeLimitBytes = parseByteSize(rootfs.size_limit) ?? 0;
  const place = {
    overlay: '',
    'lvm-thin': `${thin.volume_group}/${thin.pool}`,
    zfs: zfs.dataset,
  }[driver];
  await mkdir(root, { recursive: true, mode: 0o700 });
  await chooseStorage(root, { driver, place });
  const common = { addon, spawner, owner: ownerOf(root) };
  switch (driver) {
    case 'overlay': {
      const layersRoot = join(root, 'images/layers');
      return OverlayStorage.open({ root: join(root, 'rootfs'), layersRoot, addon, sizeLimitBytes });
    }
    case 'lvm-thin': {
      if (sizeLimitBytes > 0) {
        throw new RuntimeError(
          'failed-precondition',
          'rootfs.size_limit has no meaning with rootfs.driver "lvm-thin", whose volumes have the size rootfs.lvm_thin.size: set it to "0"',
        );
      }
      const volumes = await ThinVolumes.open({
        ...common,
        volumeGroup: thin.volume_group,
        pool: thin.pool,
        sizeBytes: parseByteSize(thin.size) ?? 0,
      });
      return VolumeStorage.open({ volumes, addon, root: join(root, 'rootfs') });
    }
    case 'zfs': {
      const volumes = await ZfsVolumes.open({ ...common, dataset: zfs.dataset, sizeLimitBytes });
      return VolumeStorage.open({ volumes, addon, root: join(root, 'rootfs') });
    }
  }
}

/** Agents with other root folders are others. */
function ownerOf(root: string): string {
  return createHash('sha256').update(root).digest('hex').slice(0, 16);
}
