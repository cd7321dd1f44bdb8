/** From a CreateContainer request and its image to a record and a spec for the shim. No side effects. */
import { posix } from 'node:path';
import { resolveCapabilities } from '../core/capabilities.js';
import { validateDevice } from '../core/devices.js';
import { RuntimeError } from '../core/errors.js';
import type { ContainerId } from '../core/ids.js';
import type {
  ContainerRecord,
  ContainerSpec,
  DeviceNode,
  ImageRecord,
  MountStatus,
} from '../core/model.js';
import type { ContainerRequest } from '../core/requests.js';
import { localhostProfile } from '../core/security-profile.js';
import { parseSignal } from '../core/signals.js';
import {
  requireAbsolutePath,
  requireNoControl,
  requireNoNul,
  requireNonEmpty,
  requireRelativePath,
} from '../core/text.js';
import { orderedMounts, type HostMounts } from './container-mounts.js';
import type { RuntimeContext } from './context.js';
import { mountedImage, validateImageMount, type ImageVolumes } from './image-volumes.js';
import type { Sandbox } from './objects.js';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const SIGTERM = 15;

export interface ContainerPlan {
  /** Phase 'creating'; the user is filled in when the root filesystem can be read, the profiles before. */
  record: Omit<ContainerRecord, 'requestDigest'>;
  argv: string[];
  logFolder: string;
}

/** What a container gets that only the host can tell. */
export interface HostParts extends HostMounts {
  seccomp: Uint8Array | null;
  devices: DeviceNode[];
}

export function validateContainer(request: ContainerRequest): void {
  requireNonEmpty('container metadata.name', request.metadata.name);
  requireNoControl('container metadata.name', request.metadata.name);
  requireNonEmpty('container image', request.image);
  requireNoControl('container image', request.image);
  if (request.logPath !== '') requireRelativePath('container log_path', request.logPath);
  if (request.workingDir !== '') requireAbsolutePath('container working_dir', request.workingDir);
  for (const word of [...request.command, ...request.args]) {
    requireNoNul('container command or argument', word);
  }
  for (const [key, value] of request.env) {
    requireNonEmpty('container env key', key);
    requireNoNul('container env key', key);
    requireNoNul(`container env ${key}`, value);
    if (key.includes('=')) {
      throw new RuntimeError(
        'invalid-argument',
        `container env key ${JSON.stringify(key.slice(0, 80))} must not contain "="`,
      );
    }
  }
  request.devices.forEach(validateDevice);
  for (const mount of request.mounts) {
    requireAbsolutePath('mount container_path', mount.target);
    validateImageMount(mount);
    if (!mount.image) requireAbsolutePath('mount host_path', mount.source);
    if (posix.normalize(mount.target) === '/') {
      throw new RuntimeError(
        'invalid-argument',
        `mount container_path "${mount.target}" is the root itself: mount below it`,
      );
    }
    if (mount.recursiveReadonly && (!mount.readonly || mount.propagation !== 'private')) {
      throw new RuntimeError(
        'invalid-argument',
        `mount ${mount.target}: recursive_read_only needs readonly and private propagation`,
      );
    }
  }
  validateProfiles(request);
  for (const path of [...request.maskedPaths, ...request.readonlyPaths]) {
    requireAbsolutePath('masked or read-only path', path);
  }
}

/** AppArmor's names have no limit of their own; ours is the length of a file name. */
const MAX_PROFILE_BYTES = 255;

function validateProfiles(request: ContainerRequest): void {
  const path = localhostProfile(request.seccomp);
  if (path !== undefined) requireAbsolutePath('seccomp localhost_ref', path);
  const name = request.apparmor === null ? undefined : localhostProfile(request.apparmor);
  if (name === undefined) return;
  requireNonEmpty('apparmor localhost_ref', name);
  requireNoControl('apparmor localhost_ref', name);
  if (Buffer.byteLength(name) > MAX_PROFILE_BYTES) {
    throw new RuntimeError(
      'invalid-argument',
      `apparmor localhost_ref ${JSON.stringify(name.slice(0, 80))} is longer than ${MAX_PROFILE_BYTES} bytes`,
    );
  }
}

export function planContainer(
  context: RuntimeContext,
  sandbox: Sandbox,
  request: ContainerRequest,
  images: { root: ImageRecord; volumes: ImageVolumes },
  id: ContainerId,
): ContainerPlan {
  const image = images.root;
  requirePrivilegedPod(request, sandbox);
  const argv = commandLine(request, image);
  const podCgroup = sandbox.record.cgroup;
  const { capabilities, ambientCapabilities } = resolveCapabilities({
    ...request.capabilities,
    privileged: request.privileged,
  });
  const logPath = request.logPath === '' ? '' : posix.join(logDirectory(sandbox), request.logPath);
  const record: ContainerPlan['record'] = {
    version: 1,
    id,
    sandboxId: sandbox.id,
    phase: 'creating',
    createdAt: String(context.host.now()),
    bootId: context.host.bootId,
    metadata: request.metadata,
    image: imageName(request, image),
    userSpecifiedImage: request.userSpecifiedImage,
    imageId: image.id,
    imageRef: image.id,
    labels: request.labels,
    annotations: request.annotations,
    logPath,
    mounts: mountStatuses(request, images.volumes),
    cgroup: context.layouts.of(podCgroup).container(podCgroup, id),
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    stopSignal: request.stopSignal || parseSignal(image.config.stopSignal) || SIGTERM,
    resources: request.resources,
    resize: null,
    process: {
      env: environment(request, image, sandbox),
      cwd: request.workingDir || image.config.workingDir || '/',
      uid: 0,
      gid: 0,
      supplementalGroups: [],
      capabilities,
      ambientCapabilities,
      noNewPrivileges: request.noNewPrivileges,
      seccompFlags: 0,
      apparmorProfile: null,
      // Not the agent's own, which its unit makes all but unkillable.
      oomScoreAdj: request.oomScoreAdj ?? 0,
      rlimits: [],
    },
    seccompProfile: request.privileged ? 'unconfined' : request.seccomp,
    pidNamespace: {
      mode: request.pid ?? sandbox.record.namespaces.pid,
      targetId: request.pid === 'target' ? request.targetId : '',
    },
    stdin: request.stdin,
    stdinOnce: request.stdinOnce,
    tty: request.tty,
    deviceHooks: request.cdiHooks,
    plugins: null,
    lost: null,
  };
  requireAbsolutePath(`image ${image.id}: working directory`, record.process.cwd);
  return {
    record,
    argv,
    logFolder: logPath === '' ? '' : posix.dirname(logPath),
  };
}

export function mountStatuses(request: ContainerRequest, volumes: ImageVolumes): MountStatus[] {
  return request.mounts.map((mount) => ({
    containerPath: mount.target,
    hostPath: mount.source,
    readonly: mount.readonly,
    recursiveReadonly: mount.recursiveReadonly,
    propagation: mount.propagation,
    idMap: mount.idMap ?? null,
    image: mountedImage(mount, volumes),
  }));
}

export function toSpec(
  context: RuntimeContext,
  sandbox: Sandbox,
  request: ContainerRequest,
  record: ContainerRecord,
  parts: HostParts & { argv: string[] },
): ContainerSpec {
  return {
    id: record.id,
    directory: context.folders.containerDirectory(record.id),
    runDirectory: context.folders.containerRunDirectory(record.id),
    cgroup: record.cgroup,
    namespaces: namespacePaths(context, sandbox, request),
    userNamespace: sandbox.record.userNamespace && {
      path: context.namespaces.path(sandbox.id, 'user'),
      map: sandbox.record.userNamespace,
    },
    readonlyRootfs: request.readonlyRootfs,
    privileged: request.privileged,
    devices: parts.devices,
    mounts: orderedMounts(context, sandbox, request, parts),
    maskedPaths: request.privileged ? [] : request.maskedPaths,
    readonlyPaths: request.privileged ? [] : request.readonlyPaths,
    process: {
      ...record.process,
      argv: parts.argv,
      seccomp: parts.seccomp,
      tty: record.tty,
    },
    stdin: record.stdin,
    stdinOnce: record.stdinOnce,
    logPath: record.logPath,
    logFolder: record.logPath === '' ? '' : posix.resolve(logDirectory(sandbox)),
  };
}

/** CRI's rule: whoever admits a pod by its sandbox must not be passed by. */
function requirePrivilegedPod(request: ContainerRequest, sandbox: Sandbox): void {
  if (!request.privileged || sandbox.record.privileged) return;
  throw new RuntimeError(
    'invalid-argument',
    `container ${request.metadata.name} is privileged, but pod sandbox ${sandbox.id} is not: set security_context.privileged for both`,
  );
}

/** Kubernetes' rule: a command replaces entrypoint and cmd of the image, args replace cmd alone. */
function commandLine(request: ContainerRequest, image: ImageRecord): string[] {
  const { entrypoint, cmd } = image.config;
  const argv =
    request.command.length > 0
      ? [...request.command, ...request.args]
      : [...entrypoint, ...(request.args.length > 0 ? request.args : cmd)];
  if (argv.length > 0) return argv;
  throw new RuntimeError(
    'invalid-argument',
    `container ${request.metadata.name}: neither the request nor image ${request.image} names a command: set one`,
  );
}

function imageName(request: ContainerRequest, image: ImageRecord): string {
  const isId = image.id === request.image || image.id === `sha256:${request.image}`;
  if (!isId) return request.image;
  return image.repoTags[0] ?? image.repoDigests[0] ?? request.image;
}

/** Later entries win: defaults, the image's, the request's. Values may hold any byte but NUL. */
function environment(request: ContainerRequest, image: ImageRecord, sandbox: Sandbox): string[] {
  const env = new Map<string, string>([['PATH', DEFAULT_PATH]]);
  if (sandbox.record.hostname !== '') env.set('HOSTNAME', sandbox.record.hostname);
  if (request.tty) env.set('TERM', 'xterm');
  for (const entry of image.config.env) {
    const at = entry.indexOf('=');
    if (at > 0) env.set(entry.slice(0, at), entry.slice(at + 1));
  }
  for (const [key, value] of request.env) env.set(key, value);
  return [...env].map(([key, value]) => `${key}=${value}`);
}

function logDirectory(sandbox: Sandbox): string {
  if (sandbox.record.logDirectory !== '') return sandbox.record.logDirectory;
  throw new RuntimeError(
    'invalid-argument',
    `container log_path is given but pod sandbox ${sandbox.id} has no log_directory: set both or neither`,
  );
}

function namespacePaths(
  context: RuntimeContext,
  sandbox: Sandbox,
  request: ContainerRequest,
): ContainerSpec['namespaces'] {
  const { network, ipc } = sandbox.record.namespaces;
  const path = (kind: 'net' | 'ipc' | 'uts'): string => context.namespaces.path(sandbox.id, kind);
  return {
    network: network === 'pod' ? path('net') : 'host',
    uts: network === 'pod' ? path('uts') : 'host',
    ipc: ipc === 'pod' ? path('ipc') : 'host',
    pid: pidNamespace(context, sandbox, request),
  };
}

function pidNamespace(
  context: RuntimeContext,
  sandbox: Sandbox,
  request: ContainerRequest,
): string {
  switch (request.pid ?? sandbox.record.namespaces.pid) {
    case 'container':
      return 'new';
    case 'node':
      if (!sandbox.record.userNamespace) return 'host';
      throw new RuntimeError(
        'invalid-argument',
        `container ${request.metadata.name}: namespace_options.pid NODE cannot be in a pod with a user namespace, which has no rights in the host's: use CONTAINER`,
      );
    case 'pod':
      if (sandbox.record.namespaces.pid === 'pod')
        return context.namespaces.path(sandbox.id, 'pid');
      throw new RuntimeError(
        'invalid-argument',
        `container ${request.metadata.name}: namespace_options.pid is POD, but pod sandbox ${sandbox.id} was run without a shared PID namespace: use CONTAINER, or POD for both`,
      );
    case 'target': {
      requireNonEmpty('namespace_options.target_id', request.targetId);
      const target = context.objects.container(request.targetId);
      if (target.record.sandboxId !== sandbox.id || target.life.state !== 'running') {
        throw new RuntimeError(
          'failed-precondition',
          `container ${request.metadata.name}: target_id ${target.id} must be a running container of the same pod`,
        );
      }
      return `/proc/${target.life.pid}/ns/pid`;
    }
  }
}
