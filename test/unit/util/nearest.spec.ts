/** Edit distance obeys the laws of a metric; guesses are made only for slips. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { editDistance, nearest } from '../../../src/util/nearest.js';

const word = fc.string({ maxLength: 20 });

describe('nearest', () => {
  it('measures known distances', () => {
    assert.equal(editDistance('kitten', 'sitting'), 3);
    assert.equal(editDistance('', 'abc'), 3);
  });

  it('is symmetric, zero only for equal words, and bounded by the longer one', () => {
    fc.assert(
      fc.property(word, word, (a, b) => {
        const distance = editDistance(a, b);
        assert.equal(distance, editDistance(b, a));
        assert.equal(distance === 0, a === b);
        assert.ok(distance <= Math.max(a.length, b.length));
        assert.ok(distance >= Math.abs(a.length - b.length));
      }),
    );
  });

  it('obeys the triangle inequality', () => {
    fc.assert(
      fc.property(word, word, word, (a, b, c) => {
        assert.ok(editDistance(a, c) <= editDistance(a, b) + editDistance(b, c));
      }),
    );
  });

  it('finds the word meant, and none for gibberish', () => {
    const known = ['log.level', 'root', 'socket'];
    assert.equal(nearest('log.levle', known), 'log.level');
    assert.equal(nearest('sokcet', known), 'socket');
    assert.equal(nearest('zzzzzzzzzzzz', known), undefined);
  });
});
