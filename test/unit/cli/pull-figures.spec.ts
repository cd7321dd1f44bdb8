/** Bars, speed and the time that is left. */
import assert from 'node:assert/strict';
import { LayerState, type Pull, type PullLayer } from '../../../src/admin/client.js';
import {
  formatLeft,
  formatRate,
  pullFigures,
  pullLines,
  RateMeter,
} from '../../../src/cli/pull-figures.js';

const MIB = 1 << 20;

function layer(state: LayerState, downloaded = 0, unpacked = 0, size = 10 * MIB): PullLayer {
  return {
    digest: `sha256:${'0123456789abcdef'.repeat(4)}`,
    size: BigInt(size),
    downloadedBytes: BigInt(downloaded),
    unpackedBytes: BigInt(unpacked),
    state,
  };
}

function pull(...layers: PullLayer[]): Pull {
  return { reference: 'web', startedAt: 1n, layers };
}

const { LAYER_STATE_WAITING, LAYER_STATE_DOWNLOADING, LAYER_STATE_UNPACKING } = LayerState;
const { LAYER_STATE_DONE, LAYER_STATE_PRESENT } = LayerState;

describe('figures of a pull', () => {
  it('leave out what was there before', () => {
    const figures = pullFigures(
      pull(
        layer(LAYER_STATE_PRESENT),
        layer(LAYER_STATE_DONE, 10 * MIB, 10 * MIB),
        layer(LAYER_STATE_UNPACKING, 10 * MIB, 4 * MIB),
        layer(LAYER_STATE_WAITING),
      ),
    );
    assert.deepEqual(figures, {
      layers: 4,
      layersReady: 2,
      layersPresent: 1,
      totalBytes: 30 * MIB,
      fetchedBytes: 20 * MIB,
      workDone: 17 * MIB,
    });
  });

  it('have a speed of the last seconds alone', () => {
    const meter = new RateMeter(5000);
    const at = (seconds: number, megabytes: number): void => {
      const bytes = megabytes * MIB;
      meter.add(
        seconds * 1000,
        pullFigures(pull(layer(LAYER_STATE_DOWNLOADING, bytes, bytes, 100 * MIB))),
      );
    };
    at(0, 0);
    assert.equal(formatRate(meter.bytesPerSecond), '-');
    for (let second = 1; second <= 10; second++) at(second, 5 * second);
    assert.equal(formatRate(meter.bytesPerSecond), '5.0MiB/s');
    for (let second = 11; second <= 20; second++) at(second, 50 + second - 10);
    assert.equal(formatRate(meter.bytesPerSecond), '1.0MiB/s');
    const left = meter.secondsLeft(
      pullFigures(pull(layer(LAYER_STATE_DOWNLOADING, 60 * MIB, 60 * MIB, 100 * MIB))),
    );
    assert.equal(formatLeft(left), '40s');
  });

  it('have no time left while nothing moves', () => {
    const meter = new RateMeter();
    const stuck = pullFigures(pull(layer(LAYER_STATE_DOWNLOADING, MIB)));
    meter.add(0, stuck);
    meter.add(3000, stuck);
    assert.equal(formatRate(meter.bytesPerSecond), '0B/s');
    assert.equal(formatLeft(meter.secondsLeft(stuck)), '-');
  });

  it('are drawn as one line for each layer and the total', () => {
    const lines = pullLines(
      pull(
        layer(LAYER_STATE_PRESENT),
        layer(LAYER_STATE_DONE, 10 * MIB, 10 * MIB),
        layer(LAYER_STATE_DOWNLOADING, 5 * MIB),
        layer(LAYER_STATE_WAITING),
      ),
      new RateMeter(),
      10,
    );
    assert.deepEqual(lines, [
      '0123456789abc  there already',
      `0123456789abc  [${'='.repeat(24)}]  10MiB/10MiB       done`,
      `0123456789abc  [${'='.repeat(12)}>${' '.repeat(11)}]  5.0MiB/10MiB      downloading`,
      `0123456789abc  [>${' '.repeat(23)}]  0B/10MiB          waiting`,
      `2/4 layers     [${'='.repeat(10)}>${' '.repeat(13)}]  15MiB/30MiB       -  - left`,
    ]);
  });

  it('show the layers at work where there is no room for all', () => {
    const done = layer(LAYER_STATE_DONE, 10 * MIB, 10 * MIB);
    const lines = pullLines(
      pull(done, done, done, layer(LAYER_STATE_DOWNLOADING, MIB), layer(LAYER_STATE_WAITING)),
      new RateMeter(),
      3,
    );
    assert.equal(lines.length, 3);
    assert.match(lines[0] ?? '', /downloading$/);
    assert.match(lines[1] ?? '', /waiting$/);
    assert.match(lines[2] ?? '', /^3\/5 layers .*\(3 not shown\)$/);
  });
});
