/** ReopenContainerLog: after a rotation the shim writes to a new file of the old name. */
import { RuntimeError } from '../core/errors.js';
import type { RuntimeContext } from './context.js';

export async function reopenContainerLog(context: RuntimeContext, id: string): Promise<void> {
  const container = context.objects.container(id);
  if (container.life.state === 'exited') {
    throw new RuntimeError(
      'failed-precondition',
      `container ${container.id} has exited: nothing writes to its log any more`,
    );
  }
  await context.engine.reopenLog(container.id, context.folders.containerRunDirectory(container.id));
}
