/** A pod whose shared init has ended is not ready: the kernel has killed all that was in it. */
import type { RuntimeContext } from './context.js';
import type { Sandbox } from './objects.js';
import { podInitCgroup } from './sandbox-plan.js';

/** Starts to wait; without a shared PID namespace there is nothing to wait for. */
export function watchPodInit(context: RuntimeContext, sandbox: Sandbox): void {
  if (sandbox.record.namespaces.pid !== 'pod' || !sandbox.ready) return;
  context.podInit.ended(podInitCgroup(sandbox.record)).then(
    () => {
      sandbox.update({ ready: false });
    },
    (error: unknown) => {
      context.log.error({ sandbox: sandbox.id, err: error }, 'cannot watch the init of a pod');
    },
  );
}
