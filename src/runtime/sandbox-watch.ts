/** Follows a pod: what it uses, and the end of its shared init, with which it is no longer ready. */
import type { RuntimeContext } from './context.js';
import type { Sandbox } from './objects.js';
import { podInitCgroup } from './sandbox-plan.js';

export function watchSandbox(context: RuntimeContext, sandbox: Sandbox): void {
  if (!sandbox.ready) return;
  try {
    context.cgroups.watch(sandbox.id, sandbox.record.cgroup, { countProcesses: true });
  } catch (error) {
    // A lack of descriptors, say. The pod runs all the same.
    context.log.warn({ sandbox: sandbox.id, err: error }, 'a pod will have no statistics');
  }
  if (sandbox.record.namespaces.pid === 'pod') watchPodInit(context, sandbox);
}

/** The kernel has killed all that was in its PID namespace by then. */
function watchPodInit(context: RuntimeContext, sandbox: Sandbox): void {
  context.podInit.ended(podInitCgroup(context, sandbox.record)).then(
    () => {
      sandbox.update({ ready: false });
    },
    (error: unknown) => {
      context.log.error({ sandbox: sandbox.id, err: error }, 'cannot watch the init of a pod');
    },
  );
}
