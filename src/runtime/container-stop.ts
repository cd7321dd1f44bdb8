/** StopContainer: the stop signal, a grace period, then the cgroup is killed. */
import { setTimeout as delay } from 'node:timers/promises';
import { killContainer } from './container-kill.js';
import type { RuntimeContext } from './context.js';
import type { Container } from './objects.js';

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
  if (container.life.state === 'running' && graceMs > 0 && (await sendSignal(context, container))) {
    const timer = new AbortController();
    const timeout = delay(graceMs, undefined, { signal: timer.signal }).catch(() => undefined);
    await Promise.race([container.ended, timeout]);
    timer.abort();
  }
  await killContainer(context, container);
}

/** Once, whoever asks. A shim that does not answer must not keep its container from being killed. */
async function sendSignal(context: RuntimeContext, container: Container): Promise<boolean> {
  const { id, record } = container;
  if (container.stopSignalled) return true;
  container.stopSignalled = true;
  try {
    await context.engine.signal(id, context.folders.containerRunDirectory(id), record.stopSignal);
    return true;
  } catch (error) {
    container.stopSignalled = false;
    context.log.warn({ container: id, err: error }, 'cannot send the stop signal: killed at once');
    return false;
  }
}
