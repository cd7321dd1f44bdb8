// Limits as files of a cgroup.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Resources } from '../../../src/core/model.js';
import { toCgroupSettings } from '../../../src/core/resources.js';

const none: Resources = {
  cpuShares: 0,
  cpuQuota: 0,
  cpuPeriod: 0,
  cpusetCpus: '',
  cpusetMems: '',
  memoryLimitBytes: 0,
  memorySwapLimitBytes: 0,
  hugepages: [],
  unified: [],
};
const all = new Set(['cpu', 'memory', 'cpuset', 'hugetlb', 'pids', 'io']);
const files = (change: Partial<Resources>, controllers = all): Record<string, string> =>
  Object.fromEntries(
    toCgroupSettings({ ...none, ...change }, controllers).settings.map((s) => [s.file, s.value]),
  );

describe('toCgroupSettings', () => {
  it('sets nothing that was not given', () => {
    assert.deepEqual(files({}), {});
  });

  it('maps shares onto weights as the kubelet does', () => {
    for (const [shares, weight] of [
      [2, 1],
      [1, 1],
      [102, 4],
      [1024, 39],
      [262_144, 10_000],
      [500_000, 10_000],
    ] as const) {
      assert.deepEqual(files({ cpuShares: shares }), { 'cpu.weight': String(weight) });
    }
  });

  it('writes quota with period, and takes -1 for no limit', () => {
    assert.deepEqual(files({ cpuQuota: 50_000 }), { 'cpu.max': '50000 100000' });
    assert.deepEqual(files({ cpuQuota: -1, cpuPeriod: 20_000 }), { 'cpu.max': 'max 20000' });
    assert.deepEqual(files({ memoryLimitBytes: -1 }), { 'memory.max': 'max' });
  });

  it('takes swap out of the sum that CRI gives', () => {
    assert.deepEqual(files({ memoryLimitBytes: 100, memorySwapLimitBytes: 130 }), {
      'memory.max': '100',
      'memory.swap.max': '30',
    });
    assert.throws(
      () => files({ memoryLimitBytes: 100, memorySwapLimitBytes: 99 }),
      /memory_swap_limit_in_bytes 99 is below memory_limit_in_bytes 100/,
    );
  });

  it('passes cpusets, huge pages and raw files', () => {
    const given = files({
      cpusetCpus: '0-3,8',
      cpusetMems: '0',
      hugepages: [{ pageSize: '2MB', limitBytes: 0 }],
      unified: [['memory.high', '1000']],
    });
    assert.deepEqual(given, {
      'cpuset.cpus': '0-3,8',
      'cpuset.mems': '0',
      'memory.high': '1000',
      'hugetlb.2MB.max': '0',
      'hugetlb.2MB.rsvd.max': '0',
    });
  });

  it('names the controllers that are missing, and leaves their files out', () => {
    const { settings, missing } = toCgroupSettings(
      { ...none, cpuShares: 2, memoryLimitBytes: 5 },
      new Set(['cpu']),
    );
    assert.deepEqual([settings, missing], [[{ file: 'cpu.weight', value: '1' }], ['memory']]);
  });

  it('never leaves the cgroup, whatever the names', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (file, value) => {
        let settings;
        try {
          settings = toCgroupSettings({ ...none, unified: [[file, value]] }, all).settings;
        } catch (error) {
          assert.match((error as Error).message, /linux\.resources\.unified/);
          return;
        }
        for (const each of settings) assert.match(each.file, /^[a-z]+(\.[A-Za-z0-9_]+)+$/);
      }),
    );
    for (const file of ['../memory.max', 'cgroup.procs', 'memory.max/..', 'a\nb.c', '']) {
      assert.throws(() => files({ unified: [[file, '1']] }), /is no file of a controller/);
    }
  });
});
