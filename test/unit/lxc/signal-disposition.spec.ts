// When a stop signal reaches the init of a PID namespace.
import assert from 'node:assert/strict';
import { isDeliverable, untilDeliverable } from '../../../src/lxc/signal-disposition.js';

const status = (sets: Record<string, string>, nspid = '4711\t1'): string =>
  Object.entries({ Name: 'sh', NSpid: nspid, SigBlk: '0', SigIgn: '0', SigCgt: '0', ...sets })
    .map(([key, value]) => `${key}:\t${value}\n`)
    .join('');

describe('isDeliverable', () => {
  it('is false for an init without handler, mask or disposition for the signal', () => {
    assert.equal(isDeliverable(status({}), 15), false);
    assert.equal(isDeliverable(status({ SigCgt: '0000000000002000' }), 15), false);
  });

  it('is true once it is caught, blocked or ignored', () => {
    for (const set of ['SigCgt', 'SigBlk', 'SigIgn']) {
      assert.equal(isDeliverable(status({ [set]: '0000000000004000' }), 15), true);
    }
    assert.equal(isDeliverable(status({ SigCgt: '8000000000000000' }), 64), true);
  });

  it('is true for any other process, and for one that is gone', () => {
    assert.equal(isDeliverable(status({}, '4711'), 15), true);
    assert.equal(isDeliverable(status({}, '4711\t21'), 15), true);
    assert.equal(isDeliverable('', 15), true);
  });

  it('is true for what no process can withstand', () => {
    assert.equal(isDeliverable(status({}), 9), true);
    assert.equal(isDeliverable(status({}), 19), true);
  });

  it('waits no longer than it may', async () => {
    const started = Date.now();
    await untilDeliverable(process.pid, 15, started + 10_000);
    await untilDeliverable(2 ** 22 + 1, 15, started + 10_000);
    assert.ok(Date.now() - started < 5000);
  });
});
