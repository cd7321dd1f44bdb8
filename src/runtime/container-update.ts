/** UpdateContainerResources: the limits of a container, as asked for and as plugins would have them. */
import type { Resources } from '../core/model.js';
import { changeContainerLimits, requireChangeable } from './container-limits.js';
import type { RuntimeContext } from './context.js';
import { applyChanges } from './plugin-changes.js';
import { podOf, tellContainer, toPluginContainer } from './plugin-events.js';

export async function updateContainer(
  context: RuntimeContext,
  id: string,
  change: Resources,
): Promise<void> {
  const { plugins } = context;
  const container = context.objects.container(id);
  if (plugins === null) {
    await changeContainerLimits(context, container, change);
    return;
  }
  // Not the container's lock, which a change of another container's for this one may wait for.
  await context.locks.run(`update of ${container.id}`, async () => {
    requireChangeable(container);
    const { resources, ...others } = await plugins.host.updateContainer(
      podOf(context, container.record),
      toPluginContainer(container),
      change,
    );
    await applyChanges(context, others);
    await changeContainerLimits(context, container, resources);
    await tellContainer(context, 'PostUpdateContainer', container);
  });
}
