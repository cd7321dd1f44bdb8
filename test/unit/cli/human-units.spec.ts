/** Ages, sizes, durations and times as people read and write them. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  formatAge,
  formatBytes,
  formatMilliseconds,
  isoTime,
  parseDuration,
} from '../../../src/cli/human-units.js';

const S = 1000;
const M = 60 * S;
const H = 60 * M;
const D = 24 * H;
const Y = 365 * D;

describe('formatAge', () => {
  // The steps of kubectl's duration.HumanDuration.
  const cases: [number, string][] = [
    [-5 * S, '0s'],
    [0, '0s'],
    [119 * S, '119s'],
    [2 * M, '2m'],
    [2 * M + 1 * S, '2m1s'],
    [10 * M - 1, '9m59s'],
    [10 * M + 30 * S, '10m'],
    [3 * H - 1, '179m'],
    [3 * H, '3h'],
    [7 * H + 59 * M, '7h59m'],
    [8 * H + 5 * M, '8h'],
    [47 * H, '47h'],
    [48 * H, '2d'],
    [7 * D + 23 * H, '7d23h'],
    [8 * D + 5 * H, '8d'],
    [2 * Y - 1, '729d'],
    [2 * Y, '2y'],
    [3 * Y + 4 * D, '3y4d'],
    [8 * Y + 9 * D, '8y'],
  ];
  for (const [age, text] of cases) {
    it(`${age} ms is ${text}`, () => {
      assert.equal(formatAge(age), text);
    });
  }
});

describe('formatBytes', () => {
  const cases: [number, string][] = [
    [0, '0B'],
    [1023, '1023B'],
    [1024, '1.0KiB'],
    [10_240, '10KiB'],
    [1_048_575, '1.0MiB'],
    [1_572_864, '1.5MiB'],
    [64 * 2 ** 20, '64MiB'],
    [3 * 2 ** 50, '3072TiB'],
  ];
  for (const [bytes, text] of cases) {
    it(`${bytes} is ${text}`, () => {
      assert.equal(formatBytes(bytes), text);
    });
  }
});

describe('formatMilliseconds', () => {
  it('has a digit more where it matters', () => {
    assert.deepEqual([0.44, 9.96, 44, 9999, 12_345].map(formatMilliseconds), [
      '0.4 ms',
      '10.0 ms',
      '44 ms',
      '9999 ms',
      '12.3 s',
    ]);
  });
});

describe('parseDuration', () => {
  it('reads what people write', () => {
    assert.equal(parseDuration('90'), 90_000);
    assert.equal(parseDuration('1.5'), 1500);
    assert.equal(parseDuration('0'), 0);
    assert.equal(parseDuration('500ms'), 500);
    assert.equal(parseDuration('1m30s'), 90_000);
    assert.equal(parseDuration('2h'), 2 * H);
    assert.equal(parseDuration('1d2h'), D + 2 * H);
  });

  it('refuses the rest', () => {
    for (const text of ['', 's', '-1', '1x', '1m 30s', '1m30', '1e3', ' 1', '9'.repeat(20)]) {
      assert.equal(parseDuration(text), undefined, text);
    }
  });
});

describe('isoTime', () => {
  it('keeps every nanosecond, and has null for never', () => {
    assert.equal(isoTime(0n), null);
    assert.equal(isoTime(1n), '1970-01-01T00:00:00.000000001Z');
    assert.equal(isoTime(1_795_000_000_123_456_789n), '2026-11-18T11:06:40.123456789Z');
  });

  it('goes up as time does', () => {
    const time = fc.bigInt({ min: 1n, max: 4_000_000_000_000_000_000n });
    fc.assert(
      fc.property(time, time, (a, b) => {
        assert.equal(a < b, (isoTime(a) ?? '') < (isoTime(b) ?? ''));
      }),
    );
  });
});
