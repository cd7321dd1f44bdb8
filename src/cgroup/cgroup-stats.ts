/** A sweep's rows as statistics by name. */
import type { CgroupStats, Pressures } from '../core/ports.js';
import { SWEEP_FIELDS } from '../native/binding.js';

type Field = (typeof SWEEP_FIELDS)[number];

const COLUMN = new Map<Field, number>(SWEEP_FIELDS.map((field, column) => [field, column]));

/** Rows whose token is not among the names are of cgroups no longer watched. */
export function readSweep(
  rows: Float64Array,
  nameOf: (token: number) => string | undefined,
): Map<string, CgroupStats> {
  const stats = new Map<string, CgroupStats>();
  for (let start = 0; start < rows.length; start += SWEEP_FIELDS.length) {
    const figure = (field: Field): number => rows[start + (COLUMN.get(field) ?? 0)] ?? Number.NaN;
    const name = nameOf(figure('token'));
    if (name !== undefined) stats.set(name, readRow(figure));
  }
  return stats;
}

function readRow(figure: (field: Field) => number): CgroupStats {
  // Whole microseconds: a double of this size holds no finer time.
  const stats: CgroupStats = {
    timestamp: BigInt(Math.round(figure('timestampMs') * 1e3)) * 1000n,
  };
  const take = (field: Field & keyof CgroupStats): void => {
    const value = figure(field);
    if (!Number.isNaN(value)) Object.assign(stats, { [field]: value });
  };
  take('cpuUsageMicros');
  take('memoryBytes');
  take('inactiveFileBytes');
  take('anonBytes');
  take('pageFaults');
  take('majorPageFaults');
  take('swapBytes');
  take('memoryLimitBytes');
  take('swapLimitBytes');
  take('processes');
  for (const resource of ['cpu', 'memory', 'io'] as const) {
    const pressures = readPressures(figure, resource);
    if (pressures) stats[`${resource}Pressure`] = pressures;
  }
  return stats;
}

/** Absent as a whole where the kernel keeps no account of it (psi=0, cgroup.pressure, old kernels). */
function readPressures(
  figure: (field: Field) => number,
  resource: 'cpu' | 'memory' | 'io',
): Pressures | undefined {
  const read = (who: 'some' | 'full'): Pressures['some'] => ({
    avg10: figure(`${resource}.${who}.avg10`),
    avg60: figure(`${resource}.${who}.avg60`),
    avg300: figure(`${resource}.${who}.avg300`),
    total: figure(`${resource}.${who}.total`),
  });
  const [some, full] = [read('some'), read('full')];
  if (Number.isNaN(some.total)) return undefined;
  // Kernels before 5.13 have no `full` line for the CPU.
  const none = { avg10: 0, avg60: 0, avg300: 0, total: 0 };
  return { some, full: Number.isNaN(full.total) ? none : full };
}
