import assert from 'node:assert/strict';
import { readSweep } from '../../../src/cgroup/cgroup-stats.js';
import { SWEEP_FIELDS } from '../../../src/native/binding.js';

type Field = (typeof SWEEP_FIELDS)[number];

/** What is not named is unknown to the kernel. */
const row = (figures: Partial<Record<Field, number>>): number[] =>
  SWEEP_FIELDS.map((field) => figures[field] ?? Number.NaN);

describe('readSweep', () => {
  it('names the figures of each row', () => {
    const rows = Float64Array.from(SWEEP_FIELDS, (_, column) => column * 10);
    rows[1] = 1795443537344.5;
    assert.deepEqual(readSweep(rows, () => 'web').get('web'), {
      timestamp: 1795443537344500000n,
      cpuUsageMicros: 20,
      memoryBytes: 30,
      inactiveFileBytes: 40,
      anonBytes: 50,
      pageFaults: 60,
      majorPageFaults: 70,
      swapBytes: 80,
      memoryLimitBytes: 90,
      swapLimitBytes: 100,
      processes: 110,
      cpuPressure: {
        some: { avg10: 120, avg60: 130, avg300: 140, total: 150 },
        full: { avg10: 160, avg60: 170, avg300: 180, total: 190 },
      },
      memoryPressure: {
        some: { avg10: 200, avg60: 210, avg300: 220, total: 230 },
        full: { avg10: 240, avg60: 250, avg300: 260, total: 270 },
      },
      ioPressure: {
        some: { avg10: 280, avg60: 290, avg300: 300, total: 310 },
        full: { avg10: 320, avg60: 330, avg300: 340, total: 350 },
      },
    });
  });

  it('leaves out what the kernel did not tell, and keeps a zero', () => {
    const rows = Float64Array.from(row({ token: 1, timestampMs: 1000, cpuUsageMicros: 0 }));
    assert.deepEqual(readSweep(rows, () => 'a').get('a'), {
      timestamp: 1000000000n,
      cpuUsageMicros: 0,
    });
  });

  it('takes a pressure without a line for all processes as none of that', () => {
    const old = { 'cpu.some.avg10': 1, 'cpu.some.avg60': 2, 'cpu.some.avg300': 3 };
    const rows = Float64Array.from(row({ token: 1, timestampMs: 0, ...old, 'cpu.some.total': 4 }));
    assert.deepEqual(readSweep(rows, () => 'a').get('a')?.cpuPressure, {
      some: { avg10: 1, avg60: 2, avg300: 3, total: 4 },
      full: { avg10: 0, avg60: 0, avg300: 0, total: 0 },
    });
  });

  it('leaves out rows nobody has a name for', () => {
    const rows = Float64Array.from([
      ...row({ token: 1, timestampMs: 1 }),
      ...row({ token: 2, timestampMs: 1 }),
    ]);
    const stats = readSweep(rows, (token) => (token === 2 ? 'b' : undefined));
    assert.deepEqual([...stats.keys()], ['b']);
  });
});
