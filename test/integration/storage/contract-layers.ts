/** The contract's part about layers. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { LayerKey, UnpackReport } from '../../../src/core/ports/storage.js';
import type { DriverBench } from '../../support/driver-bench.js';
import { file, folder } from '../../support/tar.js';
import type { DriverTraits } from './driver-contract.js';

export function layerPromises(bench: DriverBench, traits: DriverTraits): void {
  const layer = [folder('d/'), file('d/a', randomBytes(100_000)), file('b', 'b')];

  function only(): LayerKey {
    const [key] = bench.keys([layer]);
    assert.ok(key);
    return key;
  }

  it('shows a layer once it is committed, also to the next agent', async () => {
    const key = only();
    const draft = await bench.driver.draftLayer(key);
    const unpacked = await bench.unpack(draft, key, layer);
    assert.deepEqual((await bench.driver.loadLayers()).layers, []);
    const stored = await draft.commit(unpacked);
    assert.equal(stored.key, key.key);
    assert.ok(stored.bytes >= 100_000 && stored.bytes < 1_000_000, `${stored.bytes} bytes`);
    assert.ok(stored.inodes >= 3 && stored.inodes < 20, `${stored.inodes} inodes`);
    assert.deepEqual((await bench.driver.loadLayers()).layers, [stored]);
    assert.deepEqual(await bench.reopen(), [key.key]);
    assert.deepEqual((await bench.driver.loadLayers()).layers, [stored]);
  });

  it('forgets a draft that was discarded', async () => {
    const key = only();
    const draft = await bench.driver.draftLayer(key);
    await bench.unpack(draft, key, layer);
    await draft.discard();
    await draft.discard();
    assert.deepEqual(await bench.reopen(), []);
    await bench.addLayer(key, layer);
    assert.deepEqual(await bench.reopen(), [key.key]);
  });

  for (const filled of [false, true]) {
    it(`takes away a draft, ${filled ? 'filled' : 'empty'}, that an agent was killed with`, async () => {
      const key = only();
      const draft = await bench.driver.draftLayer(key);
      if (filled) await bench.unpack(draft, key, layer);
      assert.deepEqual(await bench.reopen(), []);
      // In this process its descriptor is still open.
      await draft.discard();
      await bench.addLayer(key, layer);
      assert.deepEqual(await bench.reopen(), [key.key]);
    });
  }

  it('takes two drafts of one layer: the one that comes second is dropped', async () => {
    const key = only();
    const drafts = [await bench.driver.draftLayer(key), await bench.driver.draftLayer(key)];
    const stored = [];
    for (const draft of drafts) {
      stored.push(await draft.commit(await bench.unpack(draft, key, layer)));
    }
    assert.deepEqual(
      stored.map((one) => one.key),
      [key.key, key.key],
    );
    assert.equal((await bench.driver.loadLayers()).layers.length, 1);
    assert.deepEqual(await bench.reopen(), [key.key]);
  });

  it('removes a layer, once or twice, and takes it again', async () => {
    const key = only();
    await bench.addLayer(key, layer);
    await bench.driver.removeLayer(key.key);
    await bench.driver.removeLayer(key.key);
    assert.deepEqual((await bench.driver.loadLayers()).layers, []);
    assert.deepEqual(await bench.reopen(), []);
    await bench.addLayer(key, layer);
    assert.deepEqual(await bench.reopen(), [key.key]);
  });

  it('lists parents before their children', async function () {
    if (bench.driver.keyedBy === 'diff') this.skip();
    const layers = Array.from({ length: 5 }, (_, i) => [file(`f${i}`)]);
    const keys = bench.keys(layers);
    for (const [i, key] of keys.entries()) await bench.addLayer(key, layers[i] ?? []);
    assert.deepEqual(
      await bench.reopen(),
      keys.map(({ key }) => key),
    );
    for (const { key } of keys.toReversed()) await bench.driver.removeLayer(key);
    assert.deepEqual(await bench.reopen(), []);
  });

  it('makes several layers at once', async () => {
    const layers = Array.from({ length: 6 }, (_, i) => [file(`f${i}`, randomBytes(20_000))]);
    // Each alone in its image: a child needs its parent.
    const keys = layers.flatMap((one) => bench.keys([one]));
    const drafts = await Promise.all(keys.map((key) => bench.driver.draftLayer(key)));
    const unpacked: UnpackReport[] = [];
    for (const [i, draft] of drafts.entries()) {
      const key = keys[i];
      assert.ok(key);
      unpacked.push(await bench.unpack(draft, key, layers[i] ?? []));
    }
    await Promise.all(
      drafts.map((draft, i) => {
        const report = unpacked[i];
        assert.ok(report);
        return draft.commit(report);
      }),
    );
    assert.deepEqual((await bench.reopen()).sort(), keys.map(({ key }) => key).sort());
  });

  it('gives back what a layer took that did not fit', async function () {
    const { capacityBytes } = traits;
    if (capacityBytes === undefined) this.skip();
    const large = [file('large', randomBytes(1.25 * capacityBytes))];
    const [key] = bench.keys([large]);
    assert.ok(key);
    for (let attempt = 0; attempt < 2; attempt += 1) {
      await assert.rejects(bench.addLayer(key, large), { kind: 'resource-exhausted' });
    }
    assert.deepEqual((await bench.driver.loadLayers()).layers, []);
    const half = [file('half', randomBytes(Math.floor(capacityBytes / 2)))];
    await bench.image(half);
    assert.equal((await bench.reopen()).length, 1);
  });
}
