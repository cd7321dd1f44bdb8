/** A sweep's rows as statistics by name. */
import type { CgroupStats } from '../core/ports.js';
import { SWEEP_FIELDS } from '../native/binding.js';

type Field = (typeof SWEEP_FIELDS)[number];

/** Rows whose token is not among the names are of cgroups no longer watched. */
export function readSweep(
  rows: Float64Array,
  nameOf: (token: number) => string | undefined,
): Map<string, CgroupStats> {
  const stats = new Map<string, CgroupStats>();
  for (let start = 0; start < rows.length; start += SWEEP_FIELDS.length) {
    const figure = (field: Field): number =>
      rows[start + SWEEP_FIELDS.indexOf(field)] ?? Number.NaN;
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
  take('pids');
  return stats;
}
