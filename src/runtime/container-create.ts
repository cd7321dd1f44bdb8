/** CreateContainer: root filesystem, cgroup and shim; the held init stands at the gate at the end. */
import { RuntimeError, wrap } from '../core/errors.js';
import type { ContainerId } from '../core/ids.js';
import type { ContainerRecord, ContainerSpec, ImageRecord } from '../core/model.js';
import type { OwnedFd } from '../core/ports/network.js';
import type { ContainerRequest, MountRequest } from '../core/requests.js';
import { limitsInForce } from '../core/resource-change.js';
import { toCgroupSettings, type CgroupSetting } from '../core/resources.js';
import { requireMapped } from '../core/user-namespace.js';
import { resolveUser, type ResolvedUser } from '../core/user.js';
import { allDone } from '../util/all-done.js';
import { withUndo, type UndoStack } from '../util/undo.js';
import { adoptOrMake, digestOf } from './adopt.js';
import { appArmorProfile } from './container-apparmor.js';
import { introduceContainer, type Draft } from './container-adjust.js';
import { withCdiDevices } from './cdi-devices.js';
import { resolveDevices } from './container-devices.js';
import { mountStatuses, planContainer, toSpec, validateContainer } from './container-plan.js';
import { keepFilter, planFilter } from './container-seccomp.js';
import { markLost, watchContainer } from './container-watch.js';
import type { RuntimeContext } from './context.js';
import { reportUndo } from './context.js';
import { findImageVolumes, mountImageVolumes, type ImageVolumes } from './image-volumes.js';
import { runHooks } from './hooks.js';
import { Container, type Sandbox } from './objects.js';
import { requirePodsUserNamespace, withUserNamespace } from './pod-user-namespace.js';
import { tellContainer } from './plugin-events.js';
import { step } from './step.js';

/** passwd and group files of an image are hostile: past this they are refused, not read. */
const MAX_USER_FILE = 4 << 20;

export async function createContainer(
  context: RuntimeContext,
  request: ContainerRequest,
): Promise<string> {
  validateContainer(request);
  const sandbox = context.objects.sandbox(request.sandboxId);
  const { name, attempt } = request.metadata;
  const digest = digestOf(request);
  const twin = context.objects.containersOf(sandbox.id).find(({ record: { metadata: m } }) => {
    return m.name === name && m.attempt === attempt;
  });
  return adoptOrMake(context, {
    what: `container ${name} (attempt ${attempt}) of pod sandbox ${sandbox.id}`,
    name: JSON.stringify(['container', sandbox.id, name, attempt]),
    digest,
    existing: twin && {
      id: twin.id,
      digest: twin.record.requestDigest,
      adoptable: twin.life.state === 'created',
    },
    make: () => makeContainer(context, sandbox, request, digest),
  });
}

async function makeContainer(
  context: RuntimeContext,
  sandbox: Sandbox,
  asked: ContainerRequest,
  digest: string,
): Promise<ContainerId> {
  // Its image is to be kept from a removal that is asked for right after this.
  const request = asked.cdiDevices.length > 0 ? await withCdiDevices(context, asked) : asked;
  const image = context.images.find(request.image);
  if (!image) {
    throw new RuntimeError(
      'not-found',
      `image ${JSON.stringify(request.image.slice(0, 300))} is not present: pull it first`,
    );
  }
  if (image.files) {
    throw new RuntimeError(
      'failed-precondition',
      `image ${image.id} is an artifact, which no container can be made of: mount it as a volume`,
    );
  }
  const volumes = findImageVolumes(context, request);
  const id = context.host.newId() as ContainerId;
  const used = [image, ...volumes.values()].map((each) => each.id);
  // Under the sandbox's lock, so that a stop or removal of the pod sees this container or comes first.
  return context.objects.imageUse.build(used, () =>
    context.locks.run(sandbox.id, () =>
      withUndo(
        async (undo) => {
          if (!sandbox.ready) {
            throw new RuntimeError(
              'failed-precondition',
              `pod sandbox ${sandbox.id} is not ready: run a new sandbox`,
            );
          }
          requirePodsUserNamespace(request, sandbox);
          const plan = planContainer(context, sandbox, request, { root: image, volumes }, id);
          if (request.logPath !== '') {
            await context.host.requireFolder('log folder', plan.logFolder);
          }
          const draft = await introduceContainer(
            context,
            sandbox,
            {
              request,
              record: { ...plan.record, requestDigest: digest },
              argv: plan.argv,
              devices: await resolveDevices(context, request),
              policy: null,
            },
            undo,
          );
          const { record } = draft;
          const mounted = volumesOf(draft.request, volumes);
          record.mounts = mountStatuses(draft.request, mounted);
          const seccomp = await prepareConfinement(context, draft);
          undo.add('remove the record', (clean) =>
            clean ? context.store.removeContainer(id) : keepForRemoval(context, record),
          );
          await context.store.saveContainer(record);
          await build(context, sandbox, { ...draft, image, volumes: mounted, seccomp }, undo);
          const created: ContainerRecord = { ...record, phase: 'created' };
          await context.store.saveContainer(created);
          const container = new Container(created, { state: 'created', pid: 0 });
          context.objects.addContainer(container);
          context.plugins?.introduced.containers.delete(id);
          watchContainer(context, container);
          await tellContainer(context, 'PostCreateContainer', container);
          return id;
        },
        reportUndo(context, id),
      ),
    ),
  );
}

interface Planned extends Draft {
  image: ImageRecord;
  volumes: ImageVolumes;
  seccomp: Uint8Array | null;
}

/** Without those that plugins have removed. */
function volumesOf({ mounts }: ContainerRequest, volumes: ImageVolumes): ImageVolumes {
  return new Map([...volumes].filter(([mount]) => mounts.includes(mount)));
}

/**
 * Profiles are looked at before anything is made, each time anew: a file may change, and one that is not
 * there must not mean "none".
 */
async function prepareConfinement(
  context: RuntimeContext,
  { request, record, policy }: Draft,
): Promise<Uint8Array | null> {
  const { program, flags } = await planFilter(context, record, policy);
  record.process.seccompFlags = flags;
  record.process.apparmorProfile = await appArmorProfile(context, request);
  return program;
}

/** What could not be undone stays known as a container that never ran: its removal tries again. */
async function keepForRemoval(context: RuntimeContext, record: ContainerRecord): Promise<void> {
  const message = 'it could not be created, nor what there was of it be removed';
  const created: ContainerRecord = { ...record, phase: 'created' };
  const container = new Container(created, { state: 'created', pid: 0 });
  const exit = await markLost(context, container, message, 0n);
  context.objects.addContainer(new Container(container.record, { state: 'exited', exit }));
}

/** Every side effect of a creation; completes `record` with what only the root filesystem tells. */
async function build(
  context: RuntimeContext,
  sandbox: Sandbox,
  { image, volumes, seccomp, ...draft }: Planned,
  undo: UndoStack,
): Promise<void> {
  const { request, record, argv, devices } = draft;
  const { id } = record;
  const subject = `container ${id}`;
  const { outer, shim } = record.cgroup;
  const limits = planLimits(context, record);
  const podFiles = await context.folders.sandboxFiles(sandbox.id);
  for (const { source, image: isImage } of request.mounts) {
    if (isImage) continue;
    undo.add(`remove ${source}`, await context.host.ensureMountSource(source));
  }
  undo.add('remove the root filesystem', () => context.rootfs.remove(id));
  undo.add('remove the cgroup', async () => {
    await context.cgroups.kill(outer);
    await context.cgroups.remove(outer);
  });
  undo.add('remove the folders', () => context.folders.removeContainerRun(id));
  const prepared = withUserNamespace(context, sandbox, (options) =>
    context.rootfs.prepare(id, image, options),
  );
  await allDone([
    step(subject, 'prepare its root filesystem', prepared),
    step(subject, 'make and limit its cgroup', context.cgroups.make(outer, limits.before)),
    step(subject, 'make the cgroup of the shims', context.cgroups.make(shim)),
    // liblxc moves its monitor and the container's first process.
    step(subject, 'prepare the moves between cgroups', context.cgroups.expectMoves()),
    step(subject, 'make its folders', context.folders.makeContainer(id)),
  ]);
  await keepFilter(context, record, seccomp);
  let spec: ContainerSpec;
  const mounting = withUserNamespace(context, sandbox, (options) =>
    context.rootfs.mount(id, image, options),
  );
  const rootfs = await step(subject, 'mount its root filesystem', mounting);
  let mounted = new Map<MountRequest, OwnedFd>();
  try {
    mounted = await mountImageVolumes(context, sandbox, volumes);
    const user = resolveUser(request.user, image.config.user, {
      passwd: readUserFile(context, rootfs, '/etc/passwd'),
      group: readUserFile(context, rootfs, '/etc/group'),
    });
    const { userNamespace } = sandbox.record;
    if (userNamespace) requireMapped(`container ${record.metadata.name}`, userNamespace, user);
    applyUser(record, user);
    const parts = { argv, seccomp, devices, podFiles, volumes: mounted };
    spec = toSpec(context, sandbox, request, record, parts);
  } catch (error) {
    for (const fd of [rootfs, ...mounted.values()]) context.host.closeFd(fd);
    throw wrap(error, `${subject}: cannot prepare its process`);
  }
  // The engine owns the mounts' descriptors from here.
  await context.engine.create(spec, rootfs);
  await step(subject, 'limit its cgroup', context.cgroups.configure(outer, limits.after));
  if (request.pid === 'target') await requireSameTarget(context, request, spec.namespaces.pid);
  await runCreateHooks(context, record);
}

/** The namespaces are there and the held init waits, in its root filesystem already. */
async function runCreateHooks(context: RuntimeContext, record: ContainerRecord): Promise<void> {
  const { id } = record;
  const sets = [record.deviceHooks, record.plugins?.hooks];
  if (!sets.some((each) => each && each.prestart.length + each.createRuntime.length > 0)) return;
  const { folders } = context;
  const found = await context.engine.inspect(
    id,
    folders.containerDirectory(id),
    folders.containerRunDirectory(id),
  );
  const pid = found.state === 'created' ? found.pid : 0;
  await runHooks(context, record, ['prestart', 'createRuntime'], { status: 'creating', pid });
}

/**
 * A target's PID namespace is joined by the number of its init. Had the target ended meanwhile, that
 * could be any other process: a process of the host, even.
 */
async function requireSameTarget(
  context: RuntimeContext,
  request: ContainerRequest,
  joined: string,
): Promise<void> {
  const { id } = context.objects.container(request.targetId);
  const { folders } = context;
  const found = await context.engine.inspect(
    id,
    folders.containerDirectory(id),
    folders.containerRunDirectory(id),
  );
  if (found.state === 'running' && joined === `/proc/${found.pid}/ns/pid`) return;
  throw new RuntimeError(
    'failed-precondition',
    `container ${request.metadata.name}: target_id ${id} ended while its PID namespace was being joined`,
  );
}

/**
 * The processor's share comes last: liblxc and the held init set up inside the cgroup, and a small
 * quota would make that take seconds. Limits that cannot be set here are not recorded as set.
 */
function planLimits(
  context: RuntimeContext,
  record: ContainerRecord,
): { before: CgroupSetting[]; after: CgroupSetting[] } {
  if (!record.resources) return { before: [], after: [] };
  const { settings, missing } = toCgroupSettings(record.resources, context.cgroups.controllers);
  if (missing.length > 0) {
    context.log.warn(
      { container: record.id, missing },
      'limits of a container are not set: their cgroup v2 controllers are missing here',
    );
    record.resources = limitsInForce(record.resources, context.cgroups.controllers);
  }
  const isLate = ({ file }: CgroupSetting): boolean => file === 'cpu.max';
  return { before: settings.filter((each) => !isLate(each)), after: settings.filter(isLate) };
}

function readUserFile(context: RuntimeContext, rootfs: OwnedFd, path: string): string | null {
  const bytes = context.host.readFileBelow(rootfs, path, MAX_USER_FILE);
  return bytes === null ? null : Buffer.from(bytes).toString('utf8');
}

function applyUser(record: ContainerRecord, user: ResolvedUser): void {
  const { uid, gid, supplementalGroups, home } = user;
  record.user = {
    uid,
    gid,
    supplementalGroups: [gid, ...supplementalGroups.filter((g) => g !== gid)],
  };
  record.process.uid = uid;
  record.process.gid = gid;
  record.process.supplementalGroups = record.user.supplementalGroups;
  // As runc does: an empty one counts for none.
  if (!record.process.env.some((entry) => /^HOME=[^]/.test(entry))) {
    const others = record.process.env.filter((entry) => entry !== 'HOME=');
    record.process.env = [...others, `HOME=${home}`];
  }
}
