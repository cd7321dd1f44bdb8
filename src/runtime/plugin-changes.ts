/** Changes that plugins want of containers that are there: limits, and ends before their time. */
import { RuntimeError } from '../core/errors.js';
import type { ContainerChanges, LimitChange } from '../core/ports/plugins.js';
import { killContainer } from './container-kill.js';
import { changeContainerLimits } from './container-limits.js';
import type { RuntimeContext } from './context.js';

/**
 * One after another, for all plugins: two that balance one against the other must not mix. Answers
 * those that failed; never rejects. Not for the holder of a container's lock.
 */
export function applyChanges(
  context: RuntimeContext,
  { updates, evictions }: ContainerChanges,
): Promise<LimitChange[]> {
  if (updates.length === 0 && evictions.length === 0) return Promise.resolve([]);
  return context.locks.run('changes of plugins', async () => {
    for (const { id, reason } of evictions) {
      try {
        const container = context.objects.container(fullId(id));
        context.log.warn({ container: container.id, reason }, 'a plugin ends a container');
        await killContainer(context, container);
      } catch (error) {
        context.log.warn({ container: id, reason, err: error }, 'cannot end a container');
      }
    }
    const failed: LimitChange[] = [];
    for (const update of updates) {
      try {
        const container = context.objects.container(fullId(update.id));
        await changeContainerLimits(context, container, update.resources);
      } catch (error) {
        failed.push(update);
        if (update.ignoreFailure) continue;
        context.log.warn(
          { container: update.id, err: error },
          'cannot change limits as a plugin wants it',
        );
      }
    }
    return failed;
  });
}

/** Not a prefix: a plugin that means another container than we do must not be listened to. */
function fullId(id: string): string {
  if (/^[0-9a-f]{64}$/.test(id)) return id;
  throw new RuntimeError(
    'invalid-argument',
    `container id ${JSON.stringify(id.slice(0, 80))} is none: expected 64 hexadecimal digits`,
  );
}
