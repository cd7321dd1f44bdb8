// What a request that names some limits means beside those in force.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Resources } from '../../../src/core/model.js';
import {
  addOverhead,
  completeChange,
  limitsInForce,
  mergeResources,
  NO_LIMITS,
} from '../../../src/core/resource-change.js';
import { allSettings } from '../../../src/core/resources.js';

const limits = (change: Partial<Resources>): Resources => ({ ...NO_LIMITS, ...change });
const MIB = 2 ** 20;

/** The files that a change writes over limits that are in force, and what is in force then. */
function change(current: Partial<Resources> | null, wanted: Partial<Resources>) {
  const before = current && limits(current);
  const whole = completeChange(limits(wanted), before);
  const files = Object.fromEntries(allSettings(whole).map((s) => [s.file, s.value]));
  return { files, after: mergeResources(before, whole) };
}

describe('a change of limits', () => {
  it('leaves alone what it does not give', () => {
    const current = { cpuShares: 5, cpuQuota: 7000, memoryLimitBytes: MIB, cpusetCpus: '0' };
    const { files, after } = change(current, {});
    assert.deepEqual([files, after], [{}, limits(current)]);
  });

  it('takes the other half of cpu.max from what is in force', () => {
    const current = { cpuQuota: 50_000, cpuPeriod: 200_000 };
    assert.deepEqual(change(current, { cpuQuota: 20_000 }).files, { 'cpu.max': '20000 200000' });
    assert.deepEqual(change(current, { cpuPeriod: 100_000 }).files, { 'cpu.max': '50000 100000' });
    assert.deepEqual(change(null, { cpuQuota: 20_000 }).files, { 'cpu.max': '20000 100000' });
    const { files, after } = change(current, { cpuQuota: -1 });
    assert.deepEqual([files, after.cpuQuota], [{ 'cpu.max': 'max 200000' }, -1]);
  });

  it('keeps how much may be swapped when the memory limit alone changes', () => {
    const current = { memoryLimitBytes: 100 * MIB, memorySwapLimitBytes: 130 * MIB };
    const { files, after } = change(current, { memoryLimitBytes: 50 * MIB });
    assert.deepEqual(files, {
      'memory.max': String(50 * MIB),
      'memory.swap.max': String(30 * MIB),
    });
    assert.equal(after.memorySwapLimitBytes, 80 * MIB);
    const unlimited = change(current, { memoryLimitBytes: -1 });
    assert.deepEqual(unlimited.files, { 'memory.max': 'max' });
    assert.equal(unlimited.after.memorySwapLimitBytes, 0);
    const swap = { memoryLimitBytes: MIB, memorySwapLimitBytes: -1 };
    assert.equal(change(swap, { memoryLimitBytes: -1 }).after.memorySwapLimitBytes, -1);
  });

  it('reckons a swap limit against the memory limit in force', () => {
    const { files, after } = change(
      { memoryLimitBytes: 100 * MIB },
      { memorySwapLimitBytes: 140 * MIB },
    );
    assert.equal(files['memory.swap.max'], String(40 * MIB));
    assert.deepEqual([after.memoryLimitBytes, after.memorySwapLimitBytes], [100 * MIB, 140 * MIB]);
    assert.throws(() => change({}, { memorySwapLimitBytes: 5 }), /sum of memory and swap/);
  });

  it('replaces huge pages by size and raw files by name', () => {
    const { after } = change(
      {
        hugepages: [
          { pageSize: '2MB', limitBytes: 4 * MIB },
          { pageSize: '1GB', limitBytes: 0 },
        ],
        unified: [
          ['memory.high', '5'],
          ['memory.swap.max', '9'],
        ],
        memoryLimitBytes: 10,
      },
      {
        hugepages: [{ pageSize: '2MB', limitBytes: 0 }],
        unified: [['memory.high', '6']],
        memorySwapLimitBytes: 20,
      },
    );
    assert.deepEqual(after.hugepages, [
      { pageSize: '1GB', limitBytes: 0 },
      { pageSize: '2MB', limitBytes: 0 },
    ]);
    assert.deepEqual(after.unified, [['memory.high', '6']], 'swap is no longer what unified said');
  });

  it('comes to the same in any order of CPU and memory, and when it is repeated', () => {
    const cpu = fc.record({ cpuShares: fc.nat(9999), cpuQuota: fc.nat(99_999) });
    const memory = fc.record({ memoryLimitBytes: fc.integer({ min: 1, max: 2 ** 40 }) });
    fc.assert(
      fc.property(cpu, memory, cpu, (one, two, start) => {
        const first = change(change(start, one).after, two).after;
        const second = change(change(start, two).after, one).after;
        assert.deepEqual(first, second);
        assert.deepEqual(change(change(first, one).after, two).after, first);
      }),
    );
  });
});

describe('addOverhead', () => {
  it("adds the pod's own need to limits that are there, at one period", () => {
    const pod = limits({ cpuShares: 100, cpuQuota: 50_000, cpuPeriod: 100_000 });
    const overhead = limits({
      cpuShares: 10,
      cpuQuota: 2000,
      cpuPeriod: 200_000,
      memoryLimitBytes: 7,
    });
    const both = addOverhead(pod, overhead);
    assert.deepEqual([both.cpuShares, both.cpuQuota, both.memoryLimitBytes], [110, 51_000, 0]);
    assert.equal(addOverhead(limits({ memoryLimitBytes: 5 }), overhead).memoryLimitBytes, 12);
    assert.deepEqual(addOverhead(pod, null), pod);
  });
});

describe('limitsInForce', () => {
  const all = limits({
    cpuShares: 2,
    memoryLimitBytes: 5,
    cpusetCpus: '0',
    hugepages: [{ pageSize: '2MB', limitBytes: 5 }],
    unified: [['memory.high', '1']],
  });

  it('tells nothing of controllers that are missing', () => {
    assert.equal(limitsInForce(all, new Set()), null);
    assert.deepEqual(
      limitsInForce(all, new Set(['memory'])),
      limits({ memoryLimitBytes: 5, unified: [['memory.high', '1']] }),
    );
    const every = new Set(['cpu', 'memory', 'cpuset', 'hugetlb']);
    assert.equal(limitsInForce(all, every), all);
  });
});
