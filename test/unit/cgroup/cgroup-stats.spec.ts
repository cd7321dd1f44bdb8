import assert from 'node:assert/strict';
import { readSweep } from '../../../src/cgroup/cgroup-stats.js';

describe('readSweep', () => {
  it('names the figures of each row', () => {
    const rows = new Float64Array([7, 1795443537344.5, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
    assert.deepEqual(readSweep(rows, () => 'web').get('web'), {
      timestamp: 1795443537344500000n,
      cpuUsageMicros: 10,
      memoryBytes: 20,
      inactiveFileBytes: 30,
      anonBytes: 40,
      pageFaults: 50,
      majorPageFaults: 60,
      swapBytes: 70,
      memoryLimitBytes: 80,
      pids: 90,
    });
  });

  it('leaves out what the kernel did not tell, and keeps a zero', () => {
    const none = Number.NaN;
    const rows = new Float64Array([1, 1000, 0, none, none, none, none, none, none, none, none]);
    assert.deepEqual(readSweep(rows, () => 'a').get('a'), {
      timestamp: 1000000000n,
      cpuUsageMicros: 0,
    });
  });

  it('leaves out rows nobody has a name for', () => {
    const rows = new Float64Array(22).fill(1);
    rows[11] = 2;
    const stats = readSweep(rows, (token) => (token === 2 ? 'b' : undefined));
    assert.deepEqual([...stats.keys()], ['b']);
  });
});
