/** What every storage driver promises (core/ports/), as tests that any of them runs. */
import assert from 'node:assert/strict';
import type { StorageDriver } from '../../../src/core/ports/storage.js';
import { mountsBelow, openDescriptors, settlesAt } from '../../support/descriptors.js';
import { DriverBench } from '../../support/driver-bench.js';
import { idmapPromises } from './contract-idmap.js';
import { layerPromises } from './contract-layers.js';
import { limitPromises } from './contract-limits.js';
import { rootfsPromises } from './contract-rootfs.js';

/** A place with nothing in it, for one test. */
export interface DriverPlace {
  /** Whatever is mounted of it is mounted below; '' for a driver that mounts nothing. */
  folder: string;
  /**
   * Opens the driver on what lies there. Called again without a word to the one before, it is what the
   * next agent does after a kill.
   */
  open: () => Promise<StorageDriver>;
  /** Takes the place away with all that is in it; the test has closed its mounts. */
  destroy: () => Promise<void> | void;
}

export interface DriverTraits {
  /** Bytes that each writable layer may have; the contract wants 4 to 64 MiB. Absent: no limit. */
  limitBytes?: number;
  /** Bytes of the whole place, at most 256 MiB, for a driver that can be filled up. Absent: it cannot. */
  capacityBytes?: number;
  /** Root filesystems for user namespaces. */
  idmap: boolean;
  /** How many layers an image gets; by default none, one, 30 and 127. */
  layerCounts?: readonly number[];
}

/** `makePlace` is called before each test. No mount and no descriptor may be left after one. */
export function describeDriver(
  name: string,
  traits: DriverTraits,
  makePlace: () => Promise<DriverPlace> | DriverPlace,
): void {
  describe(`${name} keeps the promises of a storage driver`, () => {
    const bench = new DriverBench();
    let folder: string;
    let descriptors: number;

    beforeEach(async () => {
      descriptors = openDescriptors();
      const place = await makePlace();
      folder = place.folder;
      await bench.begin(place);
    });
    afterEach(async () => {
      await bench.end();
      assert.ok(await settlesAt(openDescriptors, descriptors), 'a descriptor was left open');
      if (folder !== '') assert.equal(mountsBelow(folder), 0, 'a mount was left');
    });

    layerPromises(bench, traits);
    rootfsPromises(bench, traits);
    limitPromises(bench, traits);
    idmapPromises(bench, traits);
  });
}
