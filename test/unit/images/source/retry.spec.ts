import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseRetryAfter } from '../../../../src/images/source/retry.js';

describe('Retry-After', () => {
  it('reads seconds and dates', () => {
    const now = Date.parse('2026-01-01T00:00:00Z');
    for (const [text, expected] of [
      ['5', 5000],
      ['0', 0],
      ['Thu, 01 Jan 2026 00:00:07 GMT', 7000],
      ['Wed, 31 Dec 2025 23:59:59 GMT', 0],
      ['', 0],
      ['-1', 0],
      ['soon', 0],
    ] as const) {
      assert.equal(parseRetryAfter(text, now), expected, text);
    }
  });

  it('reads any text as a time to wait', () => {
    fc.assert(fc.property(fc.string(), (text) => parseRetryAfter(text, 0) >= 0));
  });
});
