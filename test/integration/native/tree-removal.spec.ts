import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { loadAddon } from '../../../src/native/binding.js';
import { openDescriptors } from '../../support/descriptors.js';

describe('removeTree of the addon', () => {
  const addon = loadAddon();
  let temp: string;
  let tree: string;
  let descriptors: number;

  beforeEach(() => {
    temp = `/dev/shm/pvecri-removal-${process.pid}`;
    tree = join(temp, 'tree');
    mkdirSync(tree, { recursive: true });
    descriptors = openDescriptors();
  });
  afterEach(() => {
    assert.ok(openDescriptors() <= descriptors, 'a descriptor was left open');
    rmSync(temp, { recursive: true, force: true });
  });

  it('removes folders, files, links, devices and pipes, follows nothing', async () => {
    const kept = join(temp, 'kept');
    mkdirSync(kept);
    writeFileSync(join(kept, 'file'), 'kept');
    symlinkSync(kept, join(tree, 'folder-link'));
    symlinkSync(join(kept, 'file'), join(tree, 'file-link'));
    symlinkSync('/nowhere', join(tree, 'dangling'));
    mkdirSync(join(tree, 'closed'), { mode: 0 });
    for (let i = 0; i < 300; i += 1) {
      mkdirSync(join(tree, `d${i}/e`), { recursive: true });
      writeFileSync(join(tree, `d${i}/e/${'n'.repeat(255)}`), '');
    }
    execFileSync('mkfifo', [join(tree, 'd1/pipe')]);
    execFileSync('mknod', [join(tree, 'd1/whiteout'), 'c', '0', '0']);
    await addon.removeTree(tree);
    assert.deepEqual(readdirSync(temp), ['kept']);
    assert.equal(readFileSync(join(kept, 'file'), 'utf8'), 'kept');
    // There is none any more; a file; a link, and not what it leads to.
    await addon.removeTree(tree);
    await addon.removeTree(join(kept, 'file'));
    symlinkSync(kept, tree);
    await addon.removeTree(tree);
    assert.deepEqual([readdirSync(temp), readdirSync(kept)], [['kept'], []]);
  });

  it('removes what is deeper than a path can say', async () => {
    const before = process.cwd();
    try {
      process.chdir(tree);
      for (let i = 0; i < 3000; i += 1) {
        mkdirSync('deep');
        process.chdir('deep');
      }
      writeFileSync('file', '');
    } finally {
      process.chdir(before);
    }
    await addon.removeTree(tree);
    assert.deepEqual(readdirSync(temp), []);
  });

  it('leaves what is mounted in the tree, and says so', async () => {
    const other = join(temp, 'other');
    mkdirSync(other);
    writeFileSync(join(other, 'file'), 'other');
    mkdirSync(join(tree, 'a/mounted'), { recursive: true });
    execFileSync('mount', ['--bind', other, join(tree, 'a/mounted')]);
    try {
      await assert.rejects(addon.removeTree(tree), (error: NodeJS.ErrnoException) =>
        ['EXDEV', 'EBUSY'].includes(error.code ?? ''),
      );
      assert.equal(readFileSync(join(other, 'file'), 'utf8'), 'other');
    } finally {
      execFileSync('umount', [join(tree, 'a/mounted')]);
    }
    await addon.removeTree(tree);
    assert.deepEqual(readdirSync(temp), ['other']);
  });

  it('stays in the tree when folders move under its feet', async () => {
    const outside = join(temp, 'outside');
    mkdirSync(join(outside, 'a/b'), { recursive: true });
    writeFileSync(join(outside, 'a/b/file'), '');
    for (let round = 0; round < 20; round += 1) {
      const deep = join(tree, 'x/'.repeat(40));
      mkdirSync(deep, { recursive: true });
      for (let i = 0; i < 200; i += 1) writeFileSync(join(deep, `${i}`), '');
      const removed = addon.removeTree(tree);
      // Its `..` leads out of the tree from now on.
      const moved = join(outside, `moved-${round}`);
      try {
        renameSync(join(tree, 'x/x/x/x'), moved);
      } catch {
        // It was faster.
      }
      await removed;
      assert.ok(!existsSync(tree));
      assert.ok(existsSync(join(outside, 'a/b/file')), 'it has left its tree');
      rmSync(moved, { recursive: true, force: true });
    }
  });

  it('refuses a relative path and the root', () => {
    for (const path of ['', 'tree', './tree', '/', '//']) {
      assert.throws(() => void addon.removeTree(path), TypeError);
    }
  });
});
