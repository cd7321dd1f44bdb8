/** File systems that overlayfs cannot have its writable layers on are found at the start. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { loadAddon } from '../../../src/native/binding.js';
import { OverlayStorage } from '../../../src/storage/overlay-storage.js';
import { mountsBelow, openDescriptors, settlesAt } from '../../support/descriptors.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('the overlay driver at its start', () => {
  const addon = loadAddon();
  let temp: string;
  let descriptors: number;
  beforeEach(() => {
    descriptors = openDescriptors();
    temp = makeTempFolder();
  });
  afterEach(async () => {
    assert.ok(await settlesAt(openDescriptors, descriptors), 'a descriptor was left open');
    assert.equal(mountsBelow(temp), 0, 'a mount was left');
    removeTempFolder(temp);
  });

  function open(folder: string): Promise<OverlayStorage> {
    const [root, layersRoot] = [join(folder, 'rootfs'), join(folder, 'layers')];
    return OverlayStorage.open({ root, layersRoot, addon });
  }

  it('leaves nothing of its attempt', async () => {
    await open(temp);
    assert.deepEqual(readdirSync(join(temp, 'rootfs')).sort(), ['.empty', '.trash']);
    assert.deepEqual(readdirSync(join(temp, 'rootfs/.trash')), []);
  });

  it('refuses an overlay as the place for another', async () => {
    const [lower, upper, work, at] = ['lower', 'upper', 'work', 'at'].map((name) =>
      join(temp, name),
    ) as [string, string, string, string];
    for (const path of [lower, upper, work, at]) mkdirSync(path);
    const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    execFileSync('mount', ['-t', 'overlay', 'pvecri-test', '-o', options, at]);
    try {
      await assert.rejects(open(at), {
        kind: 'failed-precondition',
        message:
          /overlayfs cannot use .* on overlay \(mounted at .*\): it is an overlay itself.*put the folder "root" of the configuration on ext4, XFS or btrfs/,
      });
      assert.deepEqual(readdirSync(join(at, 'rootfs/.trash')), []);
    } finally {
      execFileSync('umount', [at]);
    }
  });

  it('takes a tmpfs if the kernel has user attributes there, and says so if not', async () => {
    const [major = 0, minor = 0] = release().split('.').map(Number);
    const at = join(temp, 'at');
    mkdirSync(at);
    execFileSync('mount', ['-t', 'tmpfs', 'pvecri-test', at]);
    try {
      if (major > 6 || (major === 6 && minor >= 6)) await open(at);
      else await assert.rejects(open(at), /on tmpfs .*user\.\* attributes since Linux 6\.6 only/);
    } finally {
      execFileSync('umount', [at]);
    }
  });
});
