/** Bytes as text: exact both ways, and plain text stays as it is. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { bytesFromText, textFromBytes } from '../../../src/core/byte-text.js';

describe('byte-text', () => {
  it('gives back every byte, through JSON too', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const stored = JSON.parse(JSON.stringify(textFromBytes(bytes))) as string;
        assert.deepEqual(bytesFromText(stored), Buffer.from(bytes));
      }),
      { numRuns: 2000 },
    );
  });

  it('leaves UTF-8 as it is, so that old records mean what they meant', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.equal(textFromBytes(Buffer.from(text)), text);
        assert.deepEqual(bytesFromText(text), Buffer.from(text));
      }),
    );
  });

  for (const [what, hex] of [
    ['a lone byte', '80'],
    ['a byte order mark', 'efbbbf41'],
    ['an encoded surrogate', 'edb280'],
    ['two of them', 'eda0bdedb880'],
    ['an overlong slash', 'c0af'],
    ['a character beyond Unicode', 'f4908080'],
    ['a pair of surrogates before a lone byte', 'f09f988080'],
    ['a cut character', '41e282'],
    ['every byte', Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)).toString('hex')],
  ] as const) {
    it(`keeps ${what}`, () => {
      assert.equal(bytesFromText(textFromBytes(Buffer.from(hex, 'hex'))).toString('hex'), hex);
    });
  }

  it('takes a megabyte of noise in its stride', () => {
    const noise = Buffer.alloc(1 << 20, 0xff);
    const before = performance.now();
    assert.deepEqual(bytesFromText(textFromBytes(noise)), noise);
    assert.ok(performance.now() - before < 3000);
  });
});
