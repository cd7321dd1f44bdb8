/** The contract's part about space that ends. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  openSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { EDQUOT } from '../../../src/core/errors.js';
import { containerId, type DriverBench } from '../../support/driver-bench.js';
import { patient } from '../../support/patience.js';
import { file } from '../../support/tar.js';
import type { DriverTraits } from './driver-contract.js';

const CHUNK = randomBytes(256 << 10);

export function limitPromises(bench: DriverBench, traits: DriverTraits): void {
  const id = containerId(1);
  const other = containerId(2);

  it('holds a container to its limit, and no other', async function () {
    const { limitBytes } = traits;
    if (limitBytes === undefined) this.skip();
    // What a layer brings is not the container's.
    const image = await bench.image([file('a', randomBytes(1 << 20))]);
    await bench.driver.prepare(id, image);
    await bench.driver.prepare(other, image);
    const fd = await bench.mount(id, image);
    const root = `/proc/self/fd/${fd}`;
    const written = fill(join(root, 'big'), 2 * limitBytes);
    assert.ok(written <= limitBytes, `${written} of ${limitBytes} bytes`);
    assert.ok(written >= limitBytes / 2, `${written} of ${limitBytes} bytes`);
    await bench.merged(other, image, (free) => {
      writeFileSync(join(free, 'big'), randomBytes(limitBytes / 2), { flush: true });
    });
    // What is removed can be written again; a disk may give back late.
    rmSync(join(root, 'big'));
    for (
      let attempt = 0;
      fill(join(root, 'again'), limitBytes / 2) < limitBytes / 2;
      attempt += 1
    ) {
      assert.ok(attempt < patient(100), 'the space does not come back');
      rmSync(join(root, 'again'));
      await delay(100);
    }
    // Also for what is there already.
    await bench.reopen();
    assert.ok(fill(join(root, 'more'), limitBytes) < limitBytes);
  });

  it('tells a container of its limit as the size of its disk', async function () {
    const { limitBytes } = traits;
    if (limitBytes === undefined) this.skip();
    const image = await bench.image([file('a')]);
    await bench.driver.prepare(id, image);
    await bench.merged(id, image, (root) => {
      const { blocks, bsize } = statfsSync(root);
      const size = blocks * bsize;
      // The disk may have the image on it, too.
      const most = limitBytes + (1 << 20);
      assert.ok(size <= most && size >= limitBytes / 2, `${size} of ${limitBytes} bytes`);
    });
  });

  it('gives back what containers took', async function () {
    const { capacityBytes, limitBytes } = traits;
    if (capacityBytes === undefined || limitBytes === undefined) this.skip();
    const image = await bench.image([file('a')]);
    const rounds = Math.ceil((2 * capacityBytes) / limitBytes);
    for (let round = 0; round < rounds; round += 1) {
      await bench.driver.prepare(id, image);
      await bench.merged(id, image, (root) => {
        assert.ok(fill(join(root, 'big'), limitBytes / 2) >= limitBytes / 2);
      });
      await bench.driver.remove(id);
    }
  });

  it('tells a container when the disk is full, and goes on after a removal', async function () {
    const { capacityBytes, limitBytes } = traits;
    if (capacityBytes === undefined || limitBytes !== undefined) this.skip();
    const image = await bench.image([file('a')]);
    await bench.driver.prepare(id, image);
    await bench.merged(id, image, (root) => {
      assert.ok(fill(join(root, 'big'), 2 * capacityBytes) < 2 * capacityBytes);
    });
    // No room may be left for it; nothing of it may be there then.
    try {
      await bench.driver.prepare(other, image);
      await bench.driver.remove(other);
    } catch (error) {
      assert.equal((error as { kind?: string }).kind, 'resource-exhausted', String(error));
    }
    assert.deepEqual(await bench.driver.list(), [id]);
    await bench.driver.remove(id);
    await bench.driver.prepare(other, image);
    await bench.merged(other, image, (root) => {
      writeFileSync(join(root, 'half'), randomBytes(capacityBytes / 2), { flush: true });
    });
  });
}

/** Writes until that many bytes are on the disk, or no more are taken; answers how many were. */
function fill(path: string, most: number): number {
  const fd = openSync(path, 'w');
  let written = 0;
  try {
    while (written < most) {
      written += writeSync(fd, CHUNK, 0, Math.min(CHUNK.length, most - written));
      fsyncSync(fd);
    }
  } catch (error) {
    const { code, errno } = error as NodeJS.ErrnoException;
    assert.ok(code === 'ENOSPC' || errno === -EDQUOT, String(error));
  } finally {
    closeSync(fd);
  }
  return written;
}
