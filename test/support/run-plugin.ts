/** Runs CNI plugins as the agent does, but in a network namespace that stands for the host's. */
import type { RunPlugin } from '../../src/network/cni/invoke.js';
import { runProcess } from '../../src/native/process.js';
import type { ProcessSpawner } from '../../src/native/process.js';

export function pluginRunner(spawner: ProcessSpawner, hostNetns: string): RunPlugin {
  return (options) =>
    runProcess(spawner, {
      ...options,
      file: '/usr/bin/nsenter',
      argv: ['nsenter', `--net=${hostNetns}`, ...options.argv],
    });
}
