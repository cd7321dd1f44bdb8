import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseByteSize } from '../../../src/util/byte-size.js';

describe('parseByteSize', () => {
  it('knows numbers with their unit', () => {
    assert.equal(parseByteSize('0'), 0);
    assert.equal(parseByteSize('512KiB'), 512 * 1024);
    assert.equal(parseByteSize('10GiB'), 10 * 2 ** 30);
    assert.equal(parseByteSize('1024TiB'), 2 ** 50);
  });

  it('refuses all else', () => {
    const bad = ['', '1', '0GiB', '00', '-1GiB', '1.5GiB', '1 GiB', '10GB', '10G', '1gib', '01MiB'];
    for (const text of [...bad, '1025TiB', '99999999KiB', '1GiB\n', '０']) {
      assert.equal(parseByteSize(text), undefined, text);
    }
  });

  it('answers a whole number for whatever it takes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1024 }),
        fc.constantFrom('KiB', 'MiB', 'TiB'),
        (n, unit) => {
          const bytes = parseByteSize(`${n}${unit}`);
          assert.ok(bytes !== undefined && Number.isSafeInteger(bytes) && bytes >= n * 1024);
        },
      ),
    );
  });
});
