/** Processes of the host: their command lines and what memory they really cost. */
import { readdirSync, readFileSync } from 'node:fs';

/** By pid; words are separated by spaces. */
export function commandLines(): Map<number, string> {
  const lines = new Map<number, string>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      lines.set(Number(name), readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' '));
    } catch {
      // It has ended since the folder was read.
    }
  }
  return lines;
}

/** Proportional set size in MB: a page that n processes share counts 1/n for each. */
export function pssMegabytes(pids: Iterable<number>): number {
  let kilobytes = 0;
  for (const pid of pids) {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    kilobytes += Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1]);
  }
  return kilobytes / 1024;
}
