import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAddon } from '../../../src/native/binding.js';
import { mountsBelow, openDescriptors } from '../../support/descriptors.js';
import { setAttribute } from '../../support/xattr.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('mountOverlay', () => {
  const addon = loadAddon();
  let folder: string;
  let descriptors: number;

  beforeEach(() => {
    folder = makeTempFolder();
    descriptors = openDescriptors();
  });

  afterEach(() => {
    assert.ok(openDescriptors() <= descriptors, 'a descriptor was left open');
    assert.equal(mountsBelow(folder), 0, 'a mount was left');
    removeTempFolder(folder);
  });

  function layers(
    count: number,
    prefix = 'layer',
  ): { lower: string[]; upper: string; work: string } {
    const lower: string[] = [];
    for (let i = 0; i < count; i += 1) {
      const path = join(folder, prefix, String(i));
      mkdirSync(path, { recursive: true });
      writeFileSync(join(path, 'all'), `layer ${i}`);
      writeFileSync(join(path, `only-${i}`), '');
      lower.push(path);
    }
    const upper = join(folder, 'upper');
    const work = join(folder, 'work');
    mkdirSync(upper);
    mkdirSync(work);
    return { lower, upper, work };
  }

  for (const count of [1, 30, 120]) {
    it(`merges ${count} layers, the first on top`, async () => {
      const options = layers(count);
      const fd = await addon.mountOverlay(options);
      const root = `/proc/self/fd/${fd}`;
      assert.equal(readFileSync(join(root, 'all'), 'utf8'), 'layer 0');
      assert.equal(readdirSync(root).length, count + 1);
      writeFileSync(join(root, 'all'), 'changed');
      writeFileSync(join(root, 'new'), 'x');
      assert.equal(readFileSync(join(options.upper, 'all'), 'utf8'), 'changed');
      assert.equal(readFileSync(join(options.lower[0]!, 'all'), 'utf8'), 'layer 0');
      assert.deepEqual(readdirSync(options.upper).sort(), ['all', 'new']);
      assert.equal(mountsBelow(folder), 0, 'it is attached nowhere');
      closeSync(fd);
    });
  }

  it('takes paths longer than fsconfig does, and with characters overlay treats as its own', async () => {
    const options = layers(3, `${'deep/'.repeat(50)}a:b,c\\d e`);
    assert.ok(options.lower[0]!.length > 256);
    const fd = await addon.mountOverlay(options);
    assert.equal(readdirSync(`/proc/self/fd/${fd}`).length, 4);
    closeSync(fd);
  });

  it('honours whiteouts and opaque marks in user.overlay.*', async () => {
    const options = layers(2);
    const [top, bottom] = options.lower as [string, string];
    mkdirSync(join(top, 'd'));
    mkdirSync(join(bottom, 'd'));
    writeFileSync(join(bottom, 'd/hidden'), '');
    setAttribute(join(top, 'd'), 'user.overlay.opaque', 'y');
    writeFileSync(join(top, 'only-1'), '');
    setAttribute(join(top, 'only-1'), 'user.overlay.whiteout', 'y');
    setAttribute(top, 'user.overlay.opaque', 'x');
    const fd = await addon.mountOverlay(options);
    assert.deepEqual(readdirSync(`/proc/self/fd/${fd}/d`), []);
    assert.ok(!readdirSync(`/proc/self/fd/${fd}`).includes('only-1'));
    closeSync(fd);
  });

  it('names the folder and the call that failed', async () => {
    const options = layers(1);
    await assert.rejects(addon.mountOverlay({ ...options, lower: [join(folder, 'none')] }), {
      code: 'ENOENT',
      syscall: 'fsconfig',
      path: join(folder, 'none'),
    });
    await assert.rejects(addon.mountOverlay({ ...options, upper: join(folder, 'none') }), {
      code: 'ENOENT',
      path: join(folder, 'none'),
    });
    await assert.rejects(
      addon.mountOverlay({ ...options, lower: [join(options.lower[0]!, 'all')] }),
      {
        code: 'ENOTDIR',
      },
    );
    // Upper and work on two file systems: only the creation of the mount can tell.
    await assert.rejects(addon.mountOverlay({ ...options, work: '/dev/shm' }), { code: 'EINVAL' });
  });
});

describe('unmount', () => {
  const addon = loadAddon();

  it('is false where nothing is mounted, and never follows a symlink', () => {
    const folder = makeTempFolder();
    assert.equal(addon.unmount(folder), false);
    assert.equal(addon.unmount(join(folder, 'none')), false);
    const point = join(folder, 'point');
    mkdirSync(point);
    execFileSync('mount', ['-t', 'tmpfs', 'pvecri-test', point]);
    execFileSync('ln', ['-s', point, join(folder, 'link')]);
    assert.equal(addon.unmount(join(folder, 'link')), false);
    assert.equal(mountsBelow(point), 1);
    assert.equal(addon.unmount(point), true);
    assert.equal(mountsBelow(point), 0);
    removeTempFolder(folder);
  });
});
