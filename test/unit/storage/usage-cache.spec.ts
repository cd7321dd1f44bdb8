import assert from 'node:assert/strict';
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAddon } from '../../../src/native/binding.js';
import { UsageCache } from '../../../src/storage/usage-cache.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('usage of a folder', () => {
  const addon = loadAddon();
  let temp: string;
  beforeEach(() => {
    temp = makeTempFolder();
  });
  afterEach(() => {
    removeTempFolder(temp);
  });

  it('counts hard links once and follows no link', async () => {
    mkdirSync(join(temp, 'd/e'), { recursive: true });
    writeFileSync(join(temp, 'd/e/f'), Buffer.alloc(10_000, 1));
    linkSync(join(temp, 'd/e/f'), join(temp, 'hard'));
    symlinkSync('/usr', join(temp, 'usr'));
    const count = new addon.TreeCounter(temp);
    await count.run();
    assert.equal(count.inodes, 4);
    assert.ok(count.bytes >= 10_000 && count.bytes < 64_000, `${count.bytes}`);
  });

  it('stays below its folder, whatever the container puts in the place of one', async () => {
    writeFileSync(join(temp, 'outside'), Buffer.alloc(1 << 20, 1));
    mkdirSync(join(temp, 'fs'));
    symlinkSync('..', join(temp, 'fs/up'));
    symlinkSync(temp, join(temp, 'link'));
    const inside = new addon.TreeCounter(join(temp, 'fs'));
    await inside.run();
    assert.equal(inside.inodes, 1);
    const link = new addon.TreeCounter(join(temp, 'link'));
    await link.run();
    assert.equal(link.inodes, 0);
  });

  it('counts once, and wants a path', async () => {
    const count = new addon.TreeCounter(temp);
    await count.run();
    assert.throws(() => count.run(), TypeError);
    assert.throws(() => new addon.TreeCounter('a\0b'), TypeError);
  });

  it('counts nothing where nothing is', async () => {
    const count = new addon.TreeCounter(join(temp, 'absent'));
    await count.run();
    assert.deepEqual([count.bytes, count.inodes], [0, 0]);
  });

  it('answers from memory until it is told to forget', async () => {
    const cache = new UsageCache(addon);
    const first = await cache.get('k', temp);
    assert.equal(first.inodesUsed, 0);
    writeFileSync(join(temp, 'new'), 'x');
    assert.equal(await cache.get('k', temp), first);
    cache.forget('k');
    const all = await Promise.all([1, 2, 3].map(() => cache.get('k', temp)));
    assert.deepEqual(
      all.map(({ inodesUsed }) => inodesUsed),
      [1, 1, 1],
    );
  });
});
