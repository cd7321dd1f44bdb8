/** What tests ask of processes and wait for. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerSpec } from '../../src/core/model.js';
import { patient } from './patience.js';

/** Polls until it holds; fails after some seconds. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  // Far more than any machine needs: a Node.js to start, say.
  const limit = patient(60_000);
  const end = Date.now() + limit;
  while (!(await holds())) {
    if (Date.now() > end)
      throw new Error(`did not come true within ${limit / 1000} s: ${holds.toString()}`);
    await sleep(5);
  }
}

/** False for a zombie too. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** The shim's process, found by its arguments as an administrator would. */
export function shimPid(spec: ContainerSpec): number {
  const pids = processesWith(`pvecri-shim\0${spec.id}\0`).filter((pid) => {
    const name = readFileSync(`/proc/${pid}/comm`, 'utf8');
    return name === 'pvecri-shim\n';
  });
  if (pids.length !== 1) throw new Error(`expected one shim of ${spec.id}, found ${pids.length}`);
  return pids[0]!;
}

/** Processes whose arguments contain this text. */
export function processesWith(text: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        return pid > 0 && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text);
      } catch {
        return false; // it ended meanwhile
      }
    });
}
