/** StartContainer: opens the gate at which the held init waits. */
import { RuntimeError } from '../core/errors.js';
import type { RuntimeContext } from './context.js';
import { runLateHooks } from './hooks.js';
import { tellContainer } from './plugin-events.js';

export async function startContainer(context: RuntimeContext, id: string): Promise<void> {
  const container = context.objects.container(id);
  await context.locks.run(container.id, async () => {
    const { life } = container;
    // A repeat after a client's time-out finds its own work done.
    if (life.state === 'running') return;
    if (life.state === 'exited') {
      throw new RuntimeError(
        'failed-precondition',
        `container ${container.id} has exited already: only a created container can be started, make a new one`,
      );
    }
    const sandbox = context.objects.sandbox(container.record.sandboxId);
    if (!sandbox.ready) {
      throw new RuntimeError(
        'failed-precondition',
        `container ${container.id}: its pod sandbox ${sandbox.id} is not ready: run a new sandbox`,
      );
    }
    await tellContainer(context, 'StartContainer', container);
    const { pid, startedAt } = await context.engine.start(
      container.id,
      context.folders.containerRunDirectory(container.id),
    );
    container.update({ state: 'running', pid, startedAt });
    await runLateHooks(context, container.record, 'poststart', { status: 'running', pid });
    await tellContainer(context, 'PostStartContainer', container);
  });
}
