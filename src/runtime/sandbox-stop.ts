/** StopPodSandbox: ends what runs in the pod and gives back its network and namespaces. */
import { wrap } from '../core/errors.js';
import { allDone } from '../util/all-done.js';
import { killProcesses, untilRecorded } from './container-kill.js';
import type { RuntimeContext } from './context.js';
import type { Sandbox } from './objects.js';
import { tellPod } from './plugin-events.js';
import { podInitCgroup } from './sandbox-plan.js';

/** Idempotent; an unknown sandbox is a stopped one, as CRI demands. */
export async function stopSandbox(context: RuntimeContext, id: string): Promise<void> {
  const sandbox = context.objects.findSandbox(id);
  if (sandbox) await context.locks.run(sandbox.id, () => stopLocked(context, sandbox));
}

/** The caller holds the sandbox's lock. */
export async function stopLocked(context: RuntimeContext, sandbox: Sandbox): Promise<void> {
  const containers = context.objects.containersOf(sandbox.id);
  await allDone(containers.map((c) => killProcesses(context, c)));
  const recorded = allDone(containers.map((c) => untilRecorded(c)));
  await tellPlugins(context, sandbox, recorded);
  // Nothing uses the network any more: it goes while the shims still write down the ends.
  await allDone([giveBack(context, sandbox), recorded]);
}

/** Once, when all in it has ended and its network is still there. */
async function tellPlugins(
  context: RuntimeContext,
  { record }: Sandbox,
  recorded: Promise<unknown>,
): Promise<void> {
  if (context.plugins === null || record.phase !== 'ready') return;
  await recorded.catch(() => undefined);
  await tellPod(context, 'StopPodSandbox', record);
}

async function giveBack(context: RuntimeContext, sandbox: Sandbox): Promise<void> {
  const { id } = sandbox;
  if (sandbox.record.phase === 'stopped') return;
  // From here the pod is no longer ready, whatever happens to the rest.
  sandbox.update({ ready: false });
  context.cgroups.unwatch(id);
  if (sandbox.record.phase !== 'stopping') {
    const stopping = { ...sandbox.record, phase: 'stopping' as const };
    await context.store.saveSandbox(stopping);
    sandbox.update({ record: stopping });
  }
  try {
    if (sandbox.record.namespaces.pid === 'pod') {
      await context.cgroups.kill(podInitCgroup(context, sandbox.record));
      await context.cgroups.remove(podInitCgroup(context, sandbox.record));
    }
    await context.network.detach(id);
    await context.namespaces.unpin(id);
    await context.sharedMemory.unmount(id);
  } catch (error) {
    throw wrap(error, `pod sandbox ${id}: cannot give back its namespaces and network`);
  }
  const stopped = { ...sandbox.record, phase: 'stopped' as const };
  await context.store.saveSandbox(stopped);
  sandbox.update({ record: stopped });
}
