/** RemoveContainer: ends the container if it runs, then removes all that belongs to it. */
import { wrap } from '../core/errors.js';
import { allDone } from '../util/all-done.js';
import { killContainer } from './container-kill.js';
import type { RuntimeContext } from './context.js';
import { runLateHooks } from './hooks.js';
import type { Container } from './objects.js';
import { tellContainer } from './plugin-events.js';

/** Idempotent; an unknown container is a removed one. */
export async function removeContainer(context: RuntimeContext, id: string): Promise<void> {
  const container = context.objects.findContainer(id);
  if (container) await removeContainerObject(context, container);
}

export async function removeContainerObject(
  context: RuntimeContext,
  container: Container,
): Promise<void> {
  const { id } = container;
  await context.locks.run(id, async () => {
    if (context.objects.findContainer(id) !== container) return;
    await killContainer(context, container);
    try {
      await allDone([
        context.rootfs.remove(id),
        context.cgroups.remove(container.record.cgroup.outer),
        // A shim that was killed has left it.
        context.cgroups.remove(container.record.cgroup.monitor),
        context.folders.removeContainerRun(id),
      ]);
      await runLateHooks(context, container.record, 'poststop', { status: 'stopped', pid: 0 });
      // The record last: until it is gone, a killed agent finds the rest again.
      await context.store.removeContainer(id);
    } catch (error) {
      throw wrap(error, `container ${id}: cannot remove it`);
    }
    context.objects.removeContainer(container);
    await tellContainer(context, 'RemoveContainer', container);
  });
}
