/** What drivers of volumes make of an agent that died between any two of its commands. */
import assert from 'node:assert/strict';
import type { LayerKey, StorageDriver } from '../../../src/core/ports/storage.js';
import { loadAddon } from '../../../src/native/binding.js';
import type { ProcessSpawner } from '../../../src/native/process.js';
import { containerId, DriverBench } from '../../support/driver-bench.js';
import { DyingSpawner } from '../../support/dying-spawner.js';
import { digestOf } from '../../support/oci-image.js';

/** The pool of a kind of volumes. */
interface Place {
  open: (options?: { spawner: ProcessSpawner }) => Promise<StorageDriver>;
  /** Names of all volumes there, `base`, `layer/…` and so on. */
  volumes: () => string[];
}

const id = containerId(7);
const diffId = digestOf(Buffer.from('a layer of nothing'));
const LAYER: LayerKey = { key: diffId, diffId, parent: null };
const REPORT = { diffId, bytes: 0, inodes: 0, rootOpaque: false, rootOwner: null };

/** Everything that changes volumes. */
async function life(driver: StorageDriver): Promise<void> {
  const draft = await driver.draftLayer(LAYER);
  try {
    await draft.commit(REPORT);
  } catch (error) {
    await draft.discard();
    throw error;
  }
  const image = { ...new DriverBench().record([]), layers: [diffId] };
  await driver.prepare(id, image);
  await driver.remove(id);
  await driver.removeLayer(LAYER.key);
}

/** Takes one life after the other, each a command longer, until one reaches its end. */
export async function dieEverywhere(place: Place): Promise<void> {
  for (let programs = 0; ; programs += 1) {
    const spawner = new DyingSpawner(loadAddon(), programs);
    const death = (async () => life(await place.open({ spawner })))();
    await death.catch((error: unknown) => {
      // Its own end, and no other error.
      assert.ok(spawner.isDead, error as Error);
    });
    spawner.close();
    const driver = await place.open();
    const left = place.volumes();
    const { layers } = await driver.loadLayers();
    const known = [
      'base',
      ...layers.map(({ key }) => `layer/${key.slice('sha256:'.length)}`),
      ...(await driver.list()).map((container) => `root/${container}`),
    ];
    assert.deepEqual(left.sort(), known.sort(), `after ${programs} programs`);
    for (const container of await driver.list()) await driver.remove(container);
    for (const { key } of layers) await driver.removeLayer(key);
    if (!spawner.isDead) {
      assert.ok(programs > 5, `${programs} programs`);
      return;
    }
  }
}
