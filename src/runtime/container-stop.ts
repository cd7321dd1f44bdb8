/** StopContainer: the stop signal, a grace period, then the cgroup is killed. */
import { setTimeout as delay } from 'node:timers/promises';
import { killContainer } from './container-kill.js';
import type { RuntimeContext } from './context.js';

/**
 * Idempotent; an unknown container is a stopped one. Not under the container's lock while it waits:
 * a second call with a shorter grace period must be able to end the wait of the first.
 */
export async function stopContainer(
  context: RuntimeContext,
  id: string,
  graceMs: number,
): Promise<void> {
  const container = context.objects.findContainer(id);
  if (!container || container.life.state === 'exited') return;
  if (container.life.state === 'running' && graceMs > 0) {
    await context.engine.signal(
      container.id,
      context.folders.containerRunDirectory(container.id),
      container.record.stopSignal,
    );
    const timer = new AbortController();
    const timeout = delay(graceMs, undefined, { signal: timer.signal }).catch(() => undefined);
    await Promise.race([container.ended, timeout]);
    timer.abort();
  }
  await killContainer(context, container);
}
