/** A sweep's rows as statistics by name. */
import type { CgroupStats, Pressure, Pressures } from '../core/ports/cgroup.js';
import { SWEEP_FIELDS } from '../native/binding.js';

type Field = (typeof SWEEP_FIELDS)[number];

/** Columns by number: a sweep of hundreds of cgroups has tens of thousands of figures. */
const column = (field: Field): number => SWEEP_FIELDS.indexOf(field);
const TIMESTAMP = column('timestampMs');
const FIGURES = (
  [
    'cpuUsageMicros',
    'memoryBytes',
    'inactiveFileBytes',
    'anonBytes',
    'pageFaults',
    'majorPageFaults',
    'swapBytes',
    'memoryLimitBytes',
    'swapLimitBytes',
    'processes',
  ] as const
).map((field) => ({ field, at: column(field) }));
const PRESSURES = (['cpu', 'memory', 'io'] as const).map((resource) => ({
  field: `${resource}Pressure` as const,
  at: column(`${resource}.some.avg10`),
}));

/** Rows whose token is not among the names are of cgroups no longer watched. */
export function readSweep(
  rows: Float64Array,
  nameOf: (token: number) => string | undefined,
): Map<string, CgroupStats> {
  const stats = new Map<string, CgroupStats>();
  for (let start = 0; start < rows.length; start += SWEEP_FIELDS.length) {
    const row = rows.subarray(start, start + SWEEP_FIELDS.length);
    const name = nameOf(row[0] ?? Number.NaN);
    if (name !== undefined) stats.set(name, readRow(row));
  }
  return stats;
}

function readRow(row: Float64Array): CgroupStats {
  // Whole microseconds: a double of this size holds no finer time.
  const stats: CgroupStats = {
    timestamp: BigInt(Math.round((row[TIMESTAMP] ?? 0) * 1e3)) * 1000n,
  };
  for (const { field, at } of FIGURES) {
    const value = row[at] ?? Number.NaN;
    if (!Number.isNaN(value)) stats[field] = value;
  }
  for (const { field, at } of PRESSURES) {
    const pressures = readPressures(row, at);
    if (pressures) stats[field] = pressures;
  }
  return stats;
}

/** Absent as a whole where the kernel keeps no account of it (psi=0, cgroup.pressure, old kernels). */
function readPressures(row: Float64Array, first: number): Pressures | undefined {
  const [some, full] = [readPressure(row, first), readPressure(row, first + 4)];
  if (some === undefined) return undefined;
  // Kernels before 5.13 have no `full` line for the CPU.
  return { some, full: full ?? { avg10: 0, avg60: 0, avg300: 0, total: 0 } };
}

function readPressure(row: Float64Array, first: number): Pressure | undefined {
  const [avg10 = 0, avg60 = 0, avg300 = 0, total = Number.NaN] = row.subarray(first, first + 4);
  return Number.isNaN(total) ? undefined : { avg10, avg60, avg300, total };
}
