/** What a pull tells while its layers come in. */
import assert from 'node:assert/strict';
import type { ImageId } from '../../../../src/core/ids.js';
import { PullProgress } from '../../../../src/images/pull/pull-progress.js';

describe('the progress of a pull', () => {
  const states = (pull: PullProgress): string[] => pull.snapshot().layers.map(({ state }) => state);

  it('follows each layer from waiting to done', () => {
    const pull = new PullProgress('busybox');
    assert.deepEqual(pull.snapshot().layers, []);
    const layer = pull.addLayer('sha256:aa', 100);
    assert.deepEqual(states(pull), ['waiting']);
    layer.downloaded(0);
    assert.deepEqual(states(pull), ['downloading']);
    layer.downloaded(100);
    layer.unpacked(60);
    assert.deepEqual(pull.snapshot().layers, [
      {
        digest: 'sha256:aa',
        size: 100,
        downloadedBytes: 100,
        fetchedBytes: 100,
        unpackedBytes: 60,
        state: 'unpacking',
      },
    ]);
    layer.finish();
    assert.deepEqual(states(pull), ['done']);
    assert.equal(pull.snapshot().layers[0]?.unpackedBytes, 100);
  });

  it('tells a layer apart that was there already, and counts only what came', () => {
    const pull = new PullProgress('busybox');
    pull.addLayer('sha256:aa', 100).finish();
    const fetched = pull.addLayer('sha256:bb', 50);
    fetched.downloaded(50);
    fetched.finish();
    assert.deepEqual(states(pull), ['present', 'done']);
    const kept = pull.addLayer('sha256:dd', 70);
    kept.notFetched();
    kept.downloaded(70);
    kept.finish();
    const { fetchedBytes, layersFetched, layersPresent, reference } = pull.report({
      imageId: 'sha256:cc' as ImageId,
    });
    assert.deepEqual(
      [reference, fetchedBytes, layersFetched, layersPresent],
      ['busybox', 50, 1, 1],
    );
  });

  it('has a version that rises with every change, and with nothing else', () => {
    const pull = new PullProgress('busybox');
    const layer = pull.addLayer('sha256:aa', 100);
    const before = pull.version;
    pull.snapshot();
    assert.equal(pull.version, before);
    layer.downloaded(1);
    assert.ok(pull.version > before);
  });
});
