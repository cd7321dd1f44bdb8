/** Whether the agent grows: memory and descriptors over many pods that come and go. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Part } from './figure.js';
import { removePod, startPod, withSides } from './sides.js';

const CYCLES = 400;
/** The heap finds its size in the first ones. */
const SETTLED = 100;
/** Collects garbage often enough that it is not taken for growth. */
const HEAP = '--max-old-space-size=48';
const MEMORY_BOUND_MB = 10;

export const soak: Part = {
  names: ['soak-memory', 'soak-descriptors'],
  about: `growth of the agent's resident memory and of its open descriptors over ${CYCLES} pods, the first ${SETTLED} not counted`,
  onDemand: true,
  measure: (context) => {
    process.env['NODE_OPTIONS'] = HEAP;
    return withSides(context, async ([ours]) => {
      delete process.env['NODE_OPTIONS'];
      if (ours === undefined) throw new Error('the agent did not start');
      const resident: number[] = [];
      const cycle = async (n: number): Promise<void> => {
        context.signal.throwIfAborted();
        const { podSandboxId, containerId } = await startPod(ours, `pod-${n}`);
        await ours.client.runtime.execSync({ containerId, cmd: ['/bin/true'], timeout: 10n });
        await removePod(ours, podSandboxId);
        resident.push(residentMegabytes(ours.pid));
      };
      for (let n = 0; n < SETTLED; n += 1) await cycle(n);
      await sleep(1000);
      const before = descriptors(ours.pid);
      for (let n = SETTLED; n < CYCLES; n += 1) await cycle(n);
      await sleep(1000);
      // The highest of each half: between collections it goes up and down.
      const half = SETTLED + (CYCLES - SETTLED) / 2;
      const early = Math.max(...resident.slice(SETTLED, half));
      const late = Math.max(...resident.slice(half));
      context.say(
        `resident ${early.toFixed(1)} MB, later ${late.toFixed(1)} MB; ${before} descriptors`,
      );
      return [
        { name: 'soak-memory', unit: 'MB', ours: late - early, bound: MEMORY_BOUND_MB },
        { name: 'soak-descriptors', unit: 'count', ours: descriptors(ours.pid) - before, bound: 0 },
      ];
    });
  },
};

function residentMegabytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}

function descriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
