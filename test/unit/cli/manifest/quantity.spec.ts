/** Quantities: the forms of Kubernetes, exact and rounded up. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseQuantity } from '../../../../src/cli/manifest/quantity.js';

describe('parseQuantity', () => {
  const cases: [string, bigint, bigint | undefined][] = [
    ['500m', 1000n, 500n],
    ['2', 1000n, 2000n],
    ['0.5', 1000n, 500n],
    ['.5', 1000n, 500n],
    ['1.', 1000n, 1000n],
    ['0.1m', 1000n, 1n],
    ['1n', 1000n, 1n],
    ['0', 1000n, 0n],
    ['64Mi', 1n, 67_108_864n],
    ['1.5Gi', 1n, 1_610_612_736n],
    ['128974848', 1n, 128_974_848n],
    ['129e6', 1n, 129_000_000n],
    ['129E6', 1n, 129_000_000n],
    ['129M', 1n, 129_000_000n],
    ['2E', 1n, 2_000_000_000_000_000_000n],
    ['5e-1', 1000n, 500n],
    ['+1k', 1n, 1000n],
    ['', 1n, undefined],
    ['.', 1n, undefined],
    ['m', 1n, undefined],
    ['-1', 1n, undefined],
    ['1 Mi', 1n, undefined],
    ['1K', 1n, undefined],
    ['1mi', 1n, undefined],
    ['2x', 1n, undefined],
    ['1e', 1n, undefined],
    ['0x10', 1n, undefined],
    ['1\n', 1n, undefined],
  ];
  for (const [text, units, expected] of cases) {
    it(`${JSON.stringify(text)} in 1/${units} is ${expected}`, () => {
      assert.equal(parseQuantity(text, units), expected);
    });
  }

  it('never throws, and never gives a negative figure', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...Array.from('0123456789.eE+-kMGTPEimun')) }),
        (text) => {
          const value = parseQuantity(text, 1000n);
          assert.ok(value === undefined || value >= 0n);
        },
      ),
    );
  });
});
