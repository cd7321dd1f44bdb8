/** The LVM-thin driver: what it finds in a volume group, pools that are full, agents that die. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { containerId, DriverBench } from '../../support/driver-bench.js';
import { makeThinPool, VOLUME_BYTES, type ThinPool } from '../../support/thin-pool.js';
import { dieEverywhere } from './volume-crash.js';
import { mountsImages } from './volume-image.js';

const id = containerId(1);

describe('LVM-thin volumes', () => {
  let pool: ThinPool;
  const image = new DriverBench().record([]);

  before(function () {
    const made = makeThinPool(1.5 * VOLUME_BYTES);
    if (typeof made === 'string') {
      console.log(`    skipped: ${made}`);
      this.skip();
    } else pool = made;
  });
  after(() => {
    // Not there where the tests are skipped.
    (pool as ThinPool | undefined)?.destroy();
  });
  afterEach(() => {
    pool.clear();
  });

  function names(): string[] {
    const text = pool.run('lvs', '--noheadings', '-o', 'lv_name', pool.group);
    return text
      .split('\n')
      .map((line) => line.trim())
      .filter((name) => name !== '');
  }

  it('says which group or pool is not there, and which is none', async () => {
    const kind = 'failed-precondition';
    await assert.rejects(pool.open({ volumeGroup: 'nosuch' }), /"?nosuch"? not found/);
    await assert.rejects(pool.open({ pool: 'nosuch' }), { kind, message: /nosuch is not there/ });
    await assert.rejects(pool.open({ volumeGroup: '-x' }), { kind: 'invalid-argument' });
    await assert.rejects(pool.open({ pool: '' }), { kind: 'invalid-argument' });
    pool.run('lvcreate', '--quiet', '-V', '8m', '--thinpool', pool.pool, '-n', 'plain', pool.group);
    await assert.rejects(pool.open({ pool: 'plain' }), { kind, message: /is no thin pool/ });
    pool.run('lvremove', '--force', `${pool.group}/plain`);
  });

  it("leaves strangers' volumes alone, whatever their names", async () => {
    const strangers = ['vm-100-disk-0', `pvecri-root-${id}`, 'pvecri-draft-1'];
    for (const name of strangers) {
      pool.run('lvcreate', '--quiet', '-V', '8m', '--thinpool', pool.pool, '-n', name, pool.group);
    }
    try {
      const driver = await pool.open();
      assert.deepEqual(await driver.list(), []);
      await assert.rejects(driver.prepare(id, image), { kind: 'already-exists' });
      await driver.remove(id);
      await pool.open();
      for (const name of strangers) assert.ok(names().includes(name), name);
    } finally {
      for (const name of strangers) pool.run('lvremove', '--force', `${pool.group}/${name}`);
    }
  });

  it("refuses another agent's volumes, and another size of its own", async () => {
    const driver = await pool.open();
    const kind = 'failed-precondition';
    await assert.rejects(pool.open({ owner: 'other' }), { kind, message: /is not of this agent/ });
    await driver.prepare(id, image);
    const sizeBytes = 1 << 30;
    await assert.rejects(pool.open({ sizeBytes }), {
      kind,
      message: /rootfs.lvm_thin.size is 1073741824 bytes, but the volumes that are there have/,
    });
    assert.deepEqual(await (await pool.open()).list(), [id]);
  });

  it('takes no new volume in a pool that is full, and does again after a removal', async () => {
    const driver = await pool.open();
    const ids = [1, 2].map(containerId);
    for (const one of ids) await driver.prepare(one, image);
    const chunk = randomBytes(1 << 20);
    let failure = '';
    for (const one of ids) {
      const root = await driver.mount(one, image);
      const file = openSync(`/proc/self/fd/${root}/big`, 'w');
      try {
        for (let written = 0; written < VOLUME_BYTES; written += chunk.length) {
          writeSync(file, chunk);
          fsyncSync(file);
        }
      } catch (error) {
        failure = (error as NodeJS.ErrnoException).code ?? '';
      } finally {
        closeSync(file);
        closeSync(root);
      }
    }
    assert.match(failure, /^(EIO|ENOSPC|EROFS)$/);
    const later = await pool.open();
    const other = containerId(3);
    await assert.rejects(later.prepare(other, image), {
      kind: 'resource-exhausted',
      message: /has used \d+(\.\d+)? % of its data space: remove images, or extend it by lvextend/,
    });
    for (const one of ids) await later.remove(one);
    await later.prepare(other, image);
    const usage = await later.usage(other);
    assert.ok(usage.usedBytes < 1 << 20, `${usage.usedBytes}`);
  });

  it('mounts images read-only, and folders of them', async () => {
    const bench = new DriverBench();
    await bench.begin({ folder: pool.folder, open: pool.open, destroy: () => undefined });
    try {
      await mountsImages(bench);
    } finally {
      await bench.end();
    }
  });

  it('finishes or undoes what an agent began, wherever it died', async () => {
    const volumes = (): string[] =>
      names()
        .filter((name) => name.startsWith('pvecri-'))
        .map((name) => name.slice('pvecri-'.length).replace('-', '/'));
    await dieEverywhere({ open: pool.open, volumes });
  });
});
