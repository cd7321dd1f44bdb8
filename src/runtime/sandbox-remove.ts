/** RemovePodSandbox: stops the pod if need be, then removes its containers and its record. */
import { wrap } from '../core/errors.js';
import { removeContainerObject } from './container-remove.js';
import type { RuntimeContext } from './context.js';
import { tellPod } from './plugin-events.js';
import { stopLocked } from './sandbox-stop.js';

/** Idempotent; an unknown sandbox is a removed one. */
export async function removeSandbox(context: RuntimeContext, id: string): Promise<void> {
  const sandbox = context.objects.findSandbox(id);
  if (!sandbox) return;
  await context.locks.run(sandbox.id, async () => {
    // A second removal that waited for the lock finds nothing left to do.
    if (context.objects.findSandbox(sandbox.id) !== sandbox) return;
    await stopLocked(context, sandbox);
    await Promise.all(
      context.objects.containersOf(sandbox.id).map((c) => removeContainerObject(context, c)),
    );
    try {
      if (sandbox.record.ownsCgroup) await context.cgroups.remove(sandbox.record.cgroup);
      await context.folders.removeSandboxFiles(sandbox.id);
      // The record last: until it is gone, a killed agent finds the rest again.
      await context.store.removeSandbox(sandbox.id);
    } catch (error) {
      throw wrap(error, `pod sandbox ${sandbox.id}: cannot remove it`);
    }
    context.objects.removeSandbox(sandbox.id);
    await tellPod(context, 'RemovePodSandbox', sandbox.record);
  });
}
