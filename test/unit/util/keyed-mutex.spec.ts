/** One at a time per key, in order, and a failure does not block the next. */
import assert from 'node:assert/strict';
import { setImmediate as tick } from 'node:timers/promises';
import { KeyedMutex } from '../../../src/util/keyed-mutex.js';

describe('KeyedMutex', () => {
  it('runs work of one key in order, never at the same time', async () => {
    const mutex = new KeyedMutex();
    const order: string[] = [];
    const work = (name: string, ticks: number) => async (): Promise<string> => {
      order.push(`+${name}`);
      for (let i = 0; i < ticks; i += 1) await tick();
      order.push(`-${name}`);
      return name;
    };
    const results = await Promise.all([
      mutex.run('k', work('a', 5)),
      mutex.run('k', work('b', 1)),
      mutex.run('k', work('c', 0)),
    ]);
    assert.deepEqual(results, ['a', 'b', 'c']);
    assert.deepEqual(order, ['+a', '-a', '+b', '-b', '+c', '-c']);
  });

  it('does not make different keys wait for one another', async () => {
    const mutex = new KeyedMutex();
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const slow = mutex.run('a', () => gate);
    assert.equal(await mutex.run('b', () => 7), 7);
    open();
    await slow;
  });

  it('hands a failure to its caller alone, and forgets idle keys', async () => {
    const mutex = new KeyedMutex();
    const failed = mutex.run('k', () => {
      throw new Error('boom');
    });
    const next = mutex.run('k', () => 'fine');
    await assert.rejects(failed, /boom/);
    assert.equal(await next, 'fine');
    await tick();
    assert.equal(mutex.size, 0);
  });
});
