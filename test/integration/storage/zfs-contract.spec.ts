/** The ZFS driver, on a pool of its own. */
import { makeZfsPool, type ZfsPool } from '../../support/zfs-pool.js';
import { describeDriver } from './driver-contract.js';

/** ZFS keeps at least 128 MiB of a pool for itself, so 117 are left. */
const POOL = 256 << 20;
const CAPACITY = 160 << 20;
const LIMIT = 16 << 20;

describe('on ZFS', () => {
  let pool: ZfsPool | undefined;

  before(async function () {
    const made = makeZfsPool(POOL);
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
    'the ZFS driver',
    { idmap: true, limitBytes: LIMIT, capacityBytes: CAPACITY, layerCounts: [0, 1, 10] },
    () => {
      if (!pool) throw new Error('there is no pool');
      const { folder, open, clear } = pool;
      return { folder, open: () => open({ sizeLimitBytes: LIMIT }), destroy: clear };
    },
  );
});
