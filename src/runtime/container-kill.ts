/** Ending a container at once, by its cgroup: no process in it can escape or ignore that. */
import { setTimeout as delay } from 'node:timers/promises';
import { RuntimeError } from '../core/errors.js';
import type { RuntimeContext } from './context.js';
import type { Container } from './objects.js';

/** Output to drain and two fsyncs on a slow disk; beyond this the shim hangs. */
const RECORD_MS = 30_000;

/** Kills everything in the container and waits until its exit is recorded. OK when it has ended. */
export async function killContainer(context: RuntimeContext, container: Container): Promise<void> {
  await killProcesses(context, container);
  await untilRecorded(container);
}

/** When this returns nothing of the container runs any more; its shim may still be at work. */
export async function killProcesses(context: RuntimeContext, container: Container): Promise<void> {
  if (container.life.state === 'exited') return;
  await context.cgroups.kill(container.record.cgroup.outer);
}

/** For a container whose processes are dead. Whoever waits holds a lock, so it cannot be for ever. */
export async function untilRecorded(container: Container, limitMs = RECORD_MS): Promise<void> {
  const timer = new AbortController();
  try {
    const late = delay(limitMs, 'late' as const, { signal: timer.signal });
    if ((await Promise.race([container.ended, late])) !== 'late') return;
  } finally {
    timer.abort();
  }
  throw new RuntimeError(
    'deadline-exceeded',
    `container ${container.id} is dead, but its shim has not recorded the end within ${limitMs} ms: try again, or kill the shim`,
  );
}
