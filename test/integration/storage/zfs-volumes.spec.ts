/** The ZFS driver: what it finds in a dataset, layers that are cloned, agents that die. */
import assert from 'node:assert/strict';
import { containerId, DriverBench } from '../../support/driver-bench.js';
import { file } from '../../support/tar.js';
import { makeZfsPool, type ZfsPool } from '../../support/zfs-pool.js';
import { dieEverywhere } from './volume-crash.js';
import { mountsImages } from './volume-image.js';

const id = containerId(1);

describe('ZFS volumes', () => {
  let pool: ZfsPool;

  before(function () {
    const made = makeZfsPool(256 << 20);
    if (typeof made === 'string') {
      console.log(`    skipped: ${made}`);
      this.skip();
    } else pool = made;
  });
  after(() => {
    // Not there where the tests are skipped.
    (pool as ZfsPool | undefined)?.destroy();
  });
  afterEach(() => {
    pool.clear();
  });

  /** Below the dataset, without the folders for each kind. */
  function names(): string[] {
    return pool
      .run('zfs', 'list', '-H', '-r', '-o', 'name', pool.dataset)
      .split('\n')
      .map((path) => path.slice(pool.dataset.length + 1))
      .filter((name) => name === 'base' || name.includes('/'));
  }

  it('says that a dataset is not there, or not its own', async () => {
    const kind = 'failed-precondition';
    const dataset = `${pool.dataset}/nosuch`;
    await assert.rejects(pool.open({ dataset }), { kind, message: /nosuch is not there/ });
    for (const name of ['', '/x', 'x@y', '-o', 'x/../y z']) {
      await assert.rejects(pool.open({ dataset: name }), { kind: 'invalid-argument' });
    }
    pool.run('zfs', 'create', `${pool.dataset}/mine`);
    await assert.rejects(pool.open(), { kind, message: /mine is below it/ });
    pool.run('zfs', 'destroy', `${pool.dataset}/mine`);
    await pool.open();
    await assert.rejects(pool.open({ owner: 'other' }), { kind, message: /is another agent's/ });
  });

  it('keeps what a container was cloned from as long as the container, unseen', async () => {
    const bench = new DriverBench();
    await bench.begin({ folder: pool.folder, open: pool.open, destroy: () => undefined });
    try {
      const layers = [[file('a', 'a')], [file('b', 'b')]];
      const image = await bench.image(...layers);
      await bench.driver.prepare(id, image);
      for (const { key } of bench.keys(layers).toReversed()) await bench.driver.removeLayer(key);
      assert.deepEqual(await bench.reopen(), []);
      assert.deepEqual(
        names().filter((name) => name.startsWith('layer/')),
        [],
      );
      await bench.merged(id, image, () => undefined);
      // The same layers again, beside what is left of the former ones.
      await bench.image(...layers);
      await bench.driver.remove(id);
      assert.deepEqual(
        names().filter((name) => !name.startsWith('layer/')),
        ['base'],
      );
    } finally {
      await bench.end();
    }
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
    await dieEverywhere({ open: pool.open, volumes: names });
  });
});
