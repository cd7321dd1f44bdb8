/** Counting what a test leaves open in its own process. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { patient } from './patience.js';

export function openDescriptors(): number {
  // The listing itself holds one.
  return readdirSync('/proc/self/fd').length - 1;
}

export function threads(): number {
  return readdirSync('/proc/self/task').length;
}

export function mountsBelow(path: string): number {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => (line.split(' ')[4] ?? '').startsWith(path)).length;
}

/** Waits until a count is back at (or below) what it was; false when it stays above for too long. */
export async function settlesAt(count: () => number, baseline: number): Promise<boolean> {
  for (let attempt = 0; attempt < patient(200); attempt += 1) {
    if (count() <= baseline) return true;
    await delay(10);
  }
  return false;
}
