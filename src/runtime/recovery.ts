/**
 * The start of the agent's life: what the records and the facts on the host say, brought together.
 * Nothing is answered before this has ended.
 *
 * - A record in phase 'creating' is half-made: everything it may have made is removed.
 * - A sandbox is ready when its phase says so, the host has not rebooted, and its namespaces are pinned.
 * - A container's life is what its shim or its exit record says; neither means it is lost.
 * - A change of limits that was cut short is finished, or undone if the kernel refuses it.
 * - Side effects without a record (a removal that was cut short, a disk that lost a write) are removed.
 */
import { RuntimeError } from '../core/errors.js';
import type { SandboxId } from '../core/ids.js';
import type { ContainerRecord, SandboxRecord } from '../core/model.js';
import type { EngineState } from '../core/ports/engine.js';
import { finishContainerUpdate } from './container-limits.js';
import { lostExit, markLost, watchContainer } from './container-watch.js';
import type { RuntimeContext } from './context.js';
import { Container, Sandbox } from './objects.js';
import { podRoot } from './pod-user-namespace.js';
import { pinnedKinds, podInitCgroup } from './sandbox-plan.js';
import { finishSandboxUpdate } from './sandbox-update.js';
import { watchSandbox } from './sandbox-watch.js';

export async function recover(context: RuntimeContext): Promise<void> {
  const { sandboxes, containers, unreadable } = await context.store.load();
  const networks = await context.network.list();
  for (const file of [...unreadable, ...networks.unreadable]) {
    context.log.error({ ...file }, 'cannot read a record; it is left as it is');
    context.objects.unreadable.push(file);
  }
  await Promise.all(sandboxes.map((record) => recoverSandbox(context, record)));
  // A record that could not be read may own anything: nothing is taken for an orphan then.
  const knowsAll = unreadable.length === 0;
  await Promise.all(containers.map((record) => recoverContainer(context, record, knowsAll)));
  if (knowsAll) {
    await removeOrphans(context, networks.ids);
    // Only now is it known what stands on which image.
    await attempt(context, 'remove what no image needs', () =>
      context.images.startCollecting(() => context.objects.imagesInUse()),
    );
  }
  context.log.info(
    { sandboxes: sandboxes.length, containers: containers.length },
    'recovered what was there',
  );
}

async function recoverSandbox(context: RuntimeContext, record: SandboxRecord): Promise<void> {
  const { id } = record;
  if (record.phase === 'creating') {
    await attempt(context, `undo the half-made pod sandbox ${id}`, async () => {
      await context.network.detach(id);
      await context.cgroups.kill(podInitCgroup(context, record));
      await context.cgroups.remove(podInitCgroup(context, record));
      await context.namespaces.unpin(id);
      await context.sharedMemory.unmount(id);
      if (record.ownsCgroup) await context.cgroups.remove(record.cgroup);
      await context.folders.removeSandboxFiles(id);
      await context.store.removeSandbox(id);
    });
    return;
  }
  const sandbox = new Sandbox(record, await isReady(context, record));
  if (sandbox.ready && record.namespaces.ipc === 'pod') {
    // Pods of older agents have none.
    await attempt(context, `mount the shared memory of pod sandbox ${id}`, () =>
      context.sharedMemory.mount(id, podRoot(record)),
    );
  }
  context.objects.addSandbox(sandbox);
  watchSandbox(context, sandbox);
  await attempt(context, `finish the resize of pod sandbox ${id}`, () =>
    finishSandboxUpdate(context, sandbox),
  );
}

async function isReady(context: RuntimeContext, record: SandboxRecord): Promise<boolean> {
  if (record.phase !== 'ready' || record.bootId !== context.host.bootId) return false;
  const kinds: ('net' | 'ipc' | 'uts' | 'user')[] = pinnedKinds(record.namespaces);
  if (record.userNamespace) kinds.push('user');
  if (!(await context.namespaces.isPinned(record.id, kinds))) return false;
  // A pinned PID namespace without its init is dead: nothing can be started in it (ENOMEM).
  return record.namespaces.pid !== 'pod' || context.podInit.isAlive(podInitCgroup(context, record));
}

async function recoverContainer(
  context: RuntimeContext,
  record: ContainerRecord,
  knowsAll: boolean,
): Promise<void> {
  const { id } = record;
  const isOrphan = !context.objects.findSandbox(record.sandboxId);
  if (isOrphan && !knowsAll && record.phase !== 'creating') {
    context.log.error(
      { container: id, sandbox: record.sandboxId },
      'a container has no readable pod sandbox; it is left as it is',
    );
    return;
  }
  if (record.phase === 'creating' || isOrphan) {
    await attempt(context, `undo the half-made container ${id}`, async () => {
      for (const cgroup of [record.cgroup.outer, record.cgroup.monitor]) {
        await context.cgroups.kill(cgroup);
        await context.cgroups.remove(cgroup);
      }
      await context.rootfs.remove(id);
      await context.folders.removeContainerRun(id);
      await context.store.removeContainer(id);
    });
    return;
  }
  if (record.lost) {
    const exit = lostExit(record.lost);
    context.objects.addContainer(new Container(record, { state: 'exited', exit }));
    return;
  }
  await addRecovered(context, record, await inspect(context, record));
}

/** A shim that hangs, or a lack of descriptors, is no proof of an end: the container stays watched. */
async function inspect(context: RuntimeContext, record: ContainerRecord): Promise<EngineState> {
  const { id } = record;
  const { folders } = context;
  try {
    return await context.engine.inspect(
      id,
      folders.containerDirectory(id),
      folders.containerRunDirectory(id),
    );
  } catch (error) {
    context.log.error({ container: id, err: error }, 'cannot tell the state of a container');
    if (error instanceof RuntimeError && error.kind === 'data-loss')
      return { state: 'lost', startedAt: 0n };
    return { state: 'running', pid: 0, startedAt: BigInt(record.createdAt) };
  }
}

async function addRecovered(
  context: RuntimeContext,
  record: ContainerRecord,
  found: EngineState,
): Promise<void> {
  if (found.state === 'lost') {
    const rebooted = record.bootId !== context.host.bootId;
    const container = new Container(record, { state: 'created', pid: 0 });
    await attempt(context, `end the lost container ${record.id}`, () =>
      context.cgroups.kill(record.cgroup.outer),
    );
    const exit = await markLost(
      context,
      container,
      rebooted ? 'the node was rebooted' : 'its shim left no readable record of its end',
      found.startedAt,
    );
    context.objects.addContainer(new Container(container.record, { state: 'exited', exit }));
    return;
  }
  const container = new Container(record, found);
  context.objects.addContainer(container);
  if (found.state === 'exited') return;
  watchContainer(context, container);
  await attempt(context, `finish the resize of container ${record.id}`, () =>
    finishContainerUpdate(context, container),
  );
  await attempt(context, `end what was being run in container ${record.id}`, () =>
    endCommands(context, record),
  );
}

/** Commands of execs end with the agent that ran them; a helper that was killed too has left its own. */
async function endCommands(context: RuntimeContext, record: ContainerRecord): Promise<void> {
  const { outer } = record.cgroup;
  for (const name of await context.cgroups.children(outer)) {
    if (!name.startsWith('exec-')) continue;
    await context.cgroups.kill(`${outer}/${name}`);
    await context.cgroups.remove(`${outer}/${name}`);
  }
}

async function removeOrphans(context: RuntimeContext, networks: SandboxId[]): Promise<void> {
  const isSandbox = (id: string): boolean => context.objects.findSandbox(id) !== undefined;
  const isContainer = (id: string): boolean => context.objects.findContainer(id) !== undefined;
  for (const id of networks) {
    if (isSandbox(id)) continue;
    await attempt(context, `detach the network of pod sandbox ${id}`, () =>
      context.network.detach(id),
    );
  }
  for (const id of await context.namespaces.list()) {
    if (isSandbox(id)) continue;
    await attempt(context, `unpin the namespaces of pod sandbox ${id}`, () =>
      context.namespaces.unpin(id),
    );
  }
  for (const id of await context.sharedMemory.list()) {
    if (isSandbox(id)) continue;
    await attempt(context, `unmount the shared memory of pod sandbox ${id}`, () =>
      context.sharedMemory.unmount(id),
    );
  }
  for (const layout of context.layouts.all) {
    for (const id of await context.cgroups.children(layout.ownPods)) {
      if (isSandbox(id)) continue;
      await attempt(context, `remove the cgroup of pod sandbox ${id}`, async () => {
        await context.cgroups.kill(`${layout.ownPods}/${id}`);
        await context.cgroups.remove(`${layout.ownPods}/${id}`);
      });
    }
  }
  for (const id of await context.rootfs.list()) {
    if (isContainer(id)) continue;
    await attempt(context, `remove the root filesystem of container ${id}`, () =>
      context.rootfs.remove(id),
    );
  }
}

/** One broken object must not keep the agent from serving the others. */
async function attempt(
  context: RuntimeContext,
  what: string,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    context.log.error({ err: error }, `cannot ${what}; the next start tries again`);
  }
}
