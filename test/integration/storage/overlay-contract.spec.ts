/** The overlay driver on the file systems that a node may have. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { loadAddon } from '../../../src/native/binding.js';
import { OverlayStorage } from '../../../src/storage/overlay-storage.js';
import {
  makeFilesystem,
  type FilesystemKind,
  type TestFilesystem,
} from '../../support/loop-filesystem.js';
import { describeDriver, type DriverPlace } from './driver-contract.js';

const SIZE = 64 << 20;
const LIMIT = 8 << 20;

for (const kind of [
  'tmpfs',
  'ext4',
  'ext4 with quotas',
  'xfs',
  'xfs with quotas',
  'btrfs',
] as FilesystemKind[]) {
  describe(`on ${kind}`, () => {
    let filesystem: TestFilesystem | undefined;

    before(function () {
      const made = makeFilesystem(kind, SIZE);
      if (typeof made === 'string') {
        console.log(`    skipped: ${made}`);
        this.skip();
      } else filesystem = made;
    });
    after(() => {
      filesystem?.destroy();
    });

    const hasLimit = kind.endsWith('quotas');
    // btrfs and XFS are larger than that, and give space back late.
    const isSmall = kind === 'tmpfs' || kind === 'ext4';
    describeDriver(
      'the overlay driver',
      {
        idmap: true,
        ...(hasLimit && { limitBytes: LIMIT }),
        ...(isSmall && { capacityBytes: SIZE }),
        // What differs among file systems is not their number.
        layerCounts: kind === 'tmpfs' ? [0, 1, 30, 127] : [0, 3],
      },
      () => place(filesystem?.path ?? '', hasLimit ? LIMIT : 0),
    );
  });
}

function place(parent: string, sizeLimitBytes: number): DriverPlace {
  const folder = mkdtempSync(join(parent, 'place-'));
  return {
    folder,
    open: () =>
      OverlayStorage.open({
        root: join(folder, 'rootfs'),
        layersRoot: join(folder, 'layers'),
        addon: loadAddon(),
        sizeLimitBytes,
      }),
    destroy: () => {
      rmSync(folder, { recursive: true });
    },
  };
}
