/** A container to be, as plugins would have it: what they change is validated like what a caller asks for. */
import { posix } from 'node:path';
import { cdiDeviceNames } from '../core/cdi.js';
import { RuntimeError } from '../core/errors.js';
import type { ContainerRecord, DeviceNode, Hooks, MountRestriction, Pairs } from '../core/model.js';
import type { ContainerAdjustment, PluginContainer, PluginMount } from '../core/ports/plugins.js';
import type { ContainerRequest, MountRequest } from '../core/requests.js';
import { mergeResources } from '../core/resource-change.js';
import { requireAbsolutePath, requireCgroup, requireNoNul } from '../core/text.js';
import type { UndoStack } from '../util/undo.js';
import { withCdiDevices } from './cdi-devices.js';
import { validateContainer } from './container-plan.js';
import type { RuntimeContext } from './context.js';
import type { Sandbox } from './objects.js';
import { applyChanges } from './plugin-changes.js';
import { toPluginPod, withdrawContainer } from './plugin-events.js';
import { POD_FILES } from './sandbox-files.js';

/** What is known of a container before anything of it is made. */
export interface Draft {
  request: ContainerRequest;
  record: ContainerRecord;
  argv: string[];
  devices: DeviceNode[];
  /** A seccomp document in place of the profile's; null for none. */
  policy: string | null;
}

/** Without NRI the draft as it is. */
export async function introduceContainer(
  context: RuntimeContext,
  sandbox: Sandbox,
  draft: Draft,
  undo: UndoStack,
): Promise<Draft> {
  const { plugins } = context;
  if (plugins === null) return draft;
  const record: ContainerRecord = {
    ...draft.record,
    plugins: {
      argv: draft.argv,
      annotations: draft.record.annotations,
      devices: draft.devices,
      hooks: { prestart: [], createRuntime: [], poststart: [], poststop: [] },
      seccomp: false,
    },
  };
  const container: PluginContainer = {
    ...{ record, state: 'created', pid: 0, startedAt: 0n, exit: null },
  };
  undo.add('tell plugins', () => withdrawContainer(context, sandbox.record, container));
  const { adjustment, ...changes } = await plugins.host.createContainer(
    toPluginPod(context, sandbox.record),
    container,
    () => {
      plugins.introduced.containers.set(record.id, container);
    },
  );
  await applyChanges(context, changes);
  if (adjustment === null) return { ...draft, record };
  const adjusted = await adjust(context, { ...draft, record }, adjustment);
  container.record = adjusted.record;
  return adjusted;
}

async function adjust(
  context: RuntimeContext,
  draft: Draft,
  wanted: ContainerAdjustment,
): Promise<Draft> {
  const { record } = draft;
  const mounts = adjustMounts(draft.request.mounts, wanted);
  validateContainer({ ...draft.request, mounts, env: wanted.env, args: wanted.args });
  // What the devices bring comes first: the plugins may know better.
  const brought = await withCdiDevices(context, {
    ...draft.request,
    mounts,
    env: [],
    cdiDevices: cdiDeviceNames(wanted.cdiDevices, []),
    cdiNodes: [],
    cdiHooks: null,
  });
  const request = { ...brought, env: draft.request.env };
  const added = new Map([...brought.cdiNodes, ...wanted.devices].map((node) => [node.path, node]));
  const devices = [
    ...draft.devices.filter(
      ({ path }) => !wanted.removedDevices.includes(path) && !added.has(path),
    ),
    ...added.values(),
  ];
  for (const { path } of wanted.devices) requireAbsolutePath('NRI device path', path);
  const { prestart, createRuntime, poststart, poststop } = wanted.hooks;
  for (const hook of [...prestart, ...createRuntime, ...poststart, ...poststop]) {
    requireAbsolutePath('NRI hook path', hook.path);
    for (const word of [...hook.args, ...hook.env]) requireNoNul(`NRI hook ${hook.path}`, word);
  }
  const argv = wanted.args.length > 0 ? wanted.args : draft.argv;
  const annotations = new Map(record.plugins?.annotations);
  for (const key of wanted.removedAnnotations) annotations.delete(key);
  for (const [key, value] of wanted.annotations) annotations.set(key, value);
  return {
    request,
    argv,
    devices,
    policy: wanted.seccomp,
    record: {
      ...record,
      resources:
        wanted.resources === null
          ? record.resources
          : mergeResources(record.resources, wanted.resources),
      cgroup:
        wanted.cgroup === ''
          ? record.cgroup
          : { ...record.cgroup, outer: await freeCgroup(context, wanted.cgroup) },
      process: {
        ...record.process,
        env: adjustEnv(
          adjustEnv(record.process.env, [], brought.env),
          wanted.removedEnv,
          wanted.env,
        ),
        oomScoreAdj: oomScore(wanted.oomScoreAdj) ?? record.process.oomScoreAdj,
        rlimits: wanted.rlimits,
      },
      deviceHooks: bothHooks(record.deviceHooks, brought.cdiHooks),
      plugins: {
        argv,
        annotations: [...annotations],
        devices,
        hooks: wanted.hooks,
        seccomp: wanted.seccomp !== null,
      },
    },
  };
}

function adjustEnv(env: readonly string[], removed: readonly string[], set: Pairs): string[] {
  const added = new Map(set);
  const gone = new Set([...removed, ...added.keys()]);
  return [
    ...env.filter((entry) => !gone.has(entry.slice(0, entry.indexOf('=')))),
    ...[...added].map(([key, value]) => `${key}=${value}`),
  ];
}

function bothHooks(one: Hooks | null, other: Hooks | null): Hooks | null {
  if (one === null || other === null) return one ?? other;
  return {
    prestart: [...one.prestart, ...other.prestart],
    createRuntime: [...one.createRuntime, ...other.createRuntime],
    poststart: [...one.poststart, ...other.poststart],
    poststop: [...one.poststop, ...other.poststop],
  };
}

/** Those that stay are the same objects: what is mounted for them is found by them. */
function adjustMounts(
  mounts: readonly MountRequest[],
  wanted: ContainerAdjustment,
): MountRequest[] {
  const gone = new Set(wanted.removedMounts.map(cleanPath));
  for (const target of gone) {
    if (target !== '/dev/shm' && !POD_FILES.some((name) => target === `/etc/${name}`)) continue;
    if (mounts.some((mount) => cleanPath(mount.target) === target)) continue;
    throw new RuntimeError(
      'unimplemented',
      `NRI plugins remove mount ${target}, which is the pod's: configure the plugin without it`,
    );
  }
  for (const { target } of wanted.mounts) gone.add(cleanPath(target));
  return [
    ...mounts.filter(({ target }) => !gone.has(cleanPath(target))),
    ...wanted.mounts.map(toMountRequest),
  ];
}

const PROPAGATION: ReadonlyMap<string, MountRequest['propagation']> = new Map([
  ['private', 'private'],
  ['rprivate', 'private'],
  ['slave', 'slave'],
  ['rslave', 'slave'],
  ['shared', 'shared'],
  ['rshared', 'shared'],
]);

function toMountRequest({ target, type, source, options }: PluginMount): MountRequest {
  const request: MountRequest = {
    ...{ source, target, readonly: false, recursiveReadonly: false, propagation: 'private' },
  };
  const restrictions: MountRestriction[] = [];
  let isBind = type === 'bind';
  for (const option of options) {
    const propagation = PROPAGATION.get(option);
    if (option === 'bind' || option === 'rbind') isBind = true;
    else if (propagation !== undefined) request.propagation = propagation;
    else if (option === 'ro' || option === 'rro') request.readonly = true;
    else if (isRestriction(option)) restrictions.push(option);
    else if (option !== 'rw') throw unsupportedMount(target, `option ${JSON.stringify(option)}`);
    if (option === 'rro') request.recursiveReadonly = true;
  }
  if (!isBind) throw unsupportedMount(target, `type ${JSON.stringify(type)}`);
  return restrictions.length === 0 ? request : { ...request, restrictions };
}

function isRestriction(option: string): option is MountRestriction {
  return option === 'nosuid' || option === 'nodev' || option === 'noexec';
}

function unsupportedMount(target: string, what: string): RuntimeError {
  return new RuntimeError(
    'unimplemented',
    `NRI plugins mount ${JSON.stringify(target.slice(0, 200))} with ${what}, which pvecri does not support: expected a bind mount with rw, ro, rro, nosuid, nodev, noexec and a propagation`,
  );
}

function cleanPath(path: string): string {
  return posix.normalize(path).replace(/(?<=.)\/$/, '');
}

function oomScore(value: number | null): number | null {
  if (value === null || (Number.isInteger(value) && value >= -1000 && value <= 1000)) return value;
  throw new RuntimeError(
    'invalid-argument',
    `NRI plugins set oom_score_adj ${value}, which is out of range: expected -1000 to 1000`,
  );
}

/**
 * Everything in a container's cgroup is killed with it, and the folder removed: it must be nobody's,
 * in a folder that is there.
 */
async function freeCgroup(context: RuntimeContext, path: string): Promise<string> {
  const what = 'NRI linux.cgroups_path';
  const shown = JSON.stringify(path.slice(0, 300));
  if (context.layouts.driver === 'systemd') {
    throw new RuntimeError(
      'unimplemented',
      `${what} ${shown} is not supported with the cgroup driver systemd: configure the plugin without it`,
    );
  }
  requireCgroup(what, path);
  const isThere = async (folder: string): Promise<boolean> =>
    folder === '/' ||
    (await context.cgroups.children(posix.dirname(folder))).includes(posix.basename(folder));
  if (!(await isThere(posix.dirname(path)))) {
    throw new RuntimeError('failed-precondition', `${what} ${shown}: its parent does not exist`);
  }
  const planned = [...(context.plugins?.introduced.containers.values() ?? [])].some(
    ({ record }) => record.cgroup.outer === path,
  );
  const isContainers = [...context.objects.containers()].some(({ record }) => {
    return `${path}/`.startsWith(`${record.cgroup.outer}/`);
  });
  if (planned || isContainers || (await isThere(path))) {
    throw new RuntimeError('failed-precondition', `${what} ${shown} is in use already`);
  }
  return path;
}
