/** The LVM-thin driver, on a pool of its own. */
import { makeThinPool, VOLUME_BYTES, type ThinPool } from '../../support/thin-pool.js';
import { describeDriver } from './driver-contract.js';

describe('on LVM', () => {
  let pool: ThinPool | undefined;

  before(async function () {
    const made = makeThinPool(4 * VOLUME_BYTES);
    if (typeof made === 'string') {
      console.log(`    skipped: ${made}`);
      this.skip();
    }
    pool = made;
    // What is opened once in the life of an agent stays open.
    await pool.open();
    pool.clear();
  });
  after(() => {
    pool?.destroy();
  });

  describeDriver(
    'the LVM-thin driver',
    // A layer is a few commands of lvm2, each of which takes its time.
    { idmap: true, capacityBytes: VOLUME_BYTES, layerCounts: [0, 3] },
    () => {
      if (!pool) throw new Error('there is no pool');
      return { folder: pool.folder, open: pool.open, destroy: pool.clear };
    },
  );
});
