/** RunPodSandbox: cgroup, pinned namespaces, files, network; no process. */
import { RuntimeError } from '../core/errors.js';
import type { SandboxId } from '../core/ids.js';
import type { SandboxRecord } from '../core/model.js';
import type { SandboxRequest } from '../core/requests.js';
import { addOverhead } from '../core/resource-change.js';
import { allDone } from '../util/all-done.js';
import { withUndo, type UndoStack } from '../util/undo.js';
import { adoptOrMake, digestOf } from './adopt.js';
import type { RuntimeContext } from './context.js';
import { reportUndo } from './context.js';
import { Sandbox } from './objects.js';
import { podRoot, requireOwnIds, validateUserNamespace } from './pod-user-namespace.js';
import { introducePod, withdrawPod } from './plugin-events.js';
import { sandboxHostname, writeHostsFile, writeNameFiles } from './sandbox-files.js';
import { pinnedKinds, podInitCgroup, validateSandbox } from './sandbox-plan.js';
import { podSettings } from './sandbox-update.js';
import { watchSandbox } from './sandbox-watch.js';
import { step } from './step.js';

export async function runSandbox(
  context: RuntimeContext,
  request: SandboxRequest,
): Promise<string> {
  validateSandbox(request);
  validateUserNamespace(context, request);
  const { name, namespace, uid, attempt } = request.metadata;
  const digest = digestOf(request);
  const twin = [...context.objects.sandboxes()].find(({ record: { metadata: m } }) => {
    return m.name === name && m.namespace === namespace && m.uid === uid && m.attempt === attempt;
  });
  return adoptOrMake(context, {
    what: `pod sandbox ${namespace}/${name} (uid ${uid}, attempt ${attempt})`,
    name: JSON.stringify(['sandbox', name, namespace, uid, attempt]),
    digest,
    existing: twin && {
      id: twin.id,
      digest: twin.record.requestDigest,
      adoptable: twin.ready,
    },
    make: () => makeSandbox(context, request, digest),
  });
}

async function makeSandbox(
  context: RuntimeContext,
  request: SandboxRequest,
  digest: string,
): Promise<SandboxId> {
  const id = context.host.newId() as SandboxId;
  const record = newRecord(context, request, id, digest);
  requireOwnIds(context, record);
  const work = async (undo: UndoStack): Promise<SandboxId> => {
    // The record goes to disk before the first side effect: a killed agent finds and undoes it.
    undo.add('remove the record', (clean) =>
      clean ? context.store.removeSandbox(id) : keepForRemoval(context, record),
    );
    await context.store.saveSandbox(record);
    await build(context, request, record, undo);
    const ips =
      request.namespaces.network === 'pod' ? await attach(context, request, id, undo) : [];
    await writeHostsFile(context, record, ips);
    const ready: SandboxRecord = { ...record, ips, phase: 'ready' };
    undo.add('tell plugins', () => withdrawPod(context, ready));
    await introducePod(context, ready);
    await context.store.saveSandbox(ready);
    // Another may have become ready meanwhile.
    requireOwnIds(context, ready);
    const sandbox = new Sandbox(ready, true);
    context.objects.addSandbox(sandbox);
    context.plugins?.introduced.pods.delete(id);
    watchSandbox(context, sandbox);
    return id;
  };
  return context.locks.run(id, () => withUndo(work, reportUndo(context, id)));
}

/** What could not be undone stays known as a pod that is not ready: its removal tries again. */
async function keepForRemoval(context: RuntimeContext, record: SandboxRecord): Promise<void> {
  const stopping: SandboxRecord = { ...record, phase: 'stopping' };
  context.objects.addSandbox(new Sandbox(stopping, false));
  await context.store.saveSandbox(stopping);
}

function newRecord(
  context: RuntimeContext,
  request: SandboxRequest,
  id: SandboxId,
  digest: string,
): SandboxRecord {
  return {
    version: 1,
    id,
    phase: 'creating',
    createdAt: String(context.host.now()),
    bootId: context.host.bootId,
    metadata: request.metadata,
    hostname: sandboxHostname(context, request),
    logDirectory: request.logDirectory,
    dns: request.dns,
    portMappings: request.portMappings,
    labels: request.labels,
    annotations: request.annotations,
    cgroup: context.layouts.configured.pod(request.cgroupParent, id),
    ownsCgroup: request.cgroupParent === '',
    namespaces: request.namespaces,
    userNamespace: request.userNamespace,
    sysctls: request.sysctls,
    privileged: request.privileged,
    runtimeHandler: request.runtimeHandler,
    ips: [],
    overhead: request.overhead,
    resources: request.resources,
    resize: null,
    requestDigest: digest,
  };
}

/** Everything but the network: cgroup, files, namespaces, and an init where they share one. */
async function build(
  context: RuntimeContext,
  request: SandboxRequest,
  record: SandboxRecord,
  undo: UndoStack,
): Promise<void> {
  const { id, cgroup } = record;
  const subject = `pod sandbox ${id}`;
  undo.add('remove the cgroup', async () => {
    if (record.ownsCgroup) await context.cgroups.remove(cgroup);
  });
  undo.add('remove its files', () => context.folders.removeSandboxFiles(id));
  undo.add('unmount its shared memory', () => context.sharedMemory.unmount(id));
  undo.add('unpin the namespaces', () => context.namespaces.unpin(id));
  const pinned = {
    kinds: pinnedKinds(request.namespaces),
    hostname: record.hostname,
    sysctls: request.sysctls,
    userNamespace: record.userNamespace,
  };
  const sharesIpc = request.namespaces.ipc === 'pod';
  await allDone([
    step(subject, 'make the cgroup', makeCgroup(context, record)),
    writeNameFiles(context, record),
    step(subject, 'pin the namespaces', context.namespaces.pin(id, pinned)),
    ...(sharesIpc
      ? [step(subject, 'make its /dev/shm', context.sharedMemory.mount(id, podRoot(record)))]
      : []),
  ]);
  if (request.namespaces.pid !== 'pod') return;
  const initCgroup = podInitCgroup(context, record);
  undo.add('end the init', async () => {
    await context.cgroups.kill(initCgroup);
    await context.cgroups.remove(initCgroup);
  });
  await step(subject, 'make the cgroup of its init', context.cgroups.make(initCgroup));
  const pinPath = context.namespaces.path(id, 'pid');
  const user = record.userNamespace ? context.namespaces.path(id, 'user') : null;
  await step(subject, 'start its init', context.podInit.start(id, initCgroup, pinPath, user));
}

async function makeCgroup(context: RuntimeContext, record: SandboxRecord): Promise<void> {
  const { id, cgroup, ownsCgroup, resources, overhead } = record;
  await context.cgroups.make(cgroup);
  if (!ownsCgroup || !resources) return;
  const settings = podSettings(context, id, addOverhead(resources, overhead));
  await context.cgroups.configure(cgroup, settings);
}

async function attach(
  context: RuntimeContext,
  request: SandboxRequest,
  id: SandboxId,
  undo: UndoStack,
): Promise<string[]> {
  const subject = `pod sandbox ${id}`;
  undo.add('detach the network', () => context.network.detach(id));
  const attached = context.network.attach({
    id,
    netnsPath: context.namespaces.path(id, 'net'),
    metadata: request.metadata,
    portMappings: request.portMappings,
  });
  await allDone([
    step(subject, 'attach the network', attached),
    // The first container follows soon.
    step(subject, 'prepare the moves between cgroups', context.cgroups.expectMoves()),
  ]);
  const { ips } = await attached;
  if (ips.length > 0) return ips;
  throw new RuntimeError(
    'internal',
    `${subject}: the network gave no address: its CNI plugin must answer ADD with one`,
  );
}
