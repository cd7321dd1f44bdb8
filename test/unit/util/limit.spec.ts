import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { Limit } from '../../../src/util/limit.js';

describe('Limit', () => {
  it('runs so many at a time, in order, failures included', async () => {
    const limit = new Limit(2);
    let running = 0;
    let most = 0;
    const order: number[] = [];
    const results = await Promise.allSettled(
      [0, 1, 2, 3, 4, 5].map((number) =>
        limit.run(async () => {
          order.push(number);
          running += 1;
          most = Math.max(most, running);
          await turn();
          running -= 1;
          if (number === 2) throw new Error('two');
          return number;
        }),
      ),
    );
    assert.equal(most, 2);
    assert.deepEqual(order, [0, 1, 2, 3, 4, 5]);
    assert.deepEqual(
      results.map(({ status }) => status === 'fulfilled'),
      [true, true, false, true, true, true],
    );
  });
});
