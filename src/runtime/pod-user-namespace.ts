/** What a pod's user namespace asks of the verbs: refusals, and the host's ids of its root. */
import { RuntimeError } from '../core/errors.js';
import type { SandboxRecord, UserNamespace } from '../core/model.js';
import type { OwnedFd } from '../core/ports/network.js';
import type { ContainerRequest, SandboxRequest } from '../core/requests.js';
import { describeMap, isSameMap, overlapOf } from '../core/user-namespace.js';
import type { RuntimeContext } from './context.js';
import type { Sandbox } from './objects.js';

const FIELD = 'namespace_options.userns_options';

export function validateUserNamespace(
  { host }: RuntimeContext,
  { userNamespace, namespaces }: SandboxRequest,
): void {
  if (!userNamespace) return;
  for (const kind of ['network', 'pid', 'ipc'] as const) {
    if (namespaces[kind] !== 'node') continue;
    throw new RuntimeError(
      'invalid-argument',
      `sandbox ${FIELD} POD cannot be together with namespace_options.${kind} NODE: a user namespace has no rights in the host's namespaces; use POD for both`,
    );
  }
  if (!host.userNamespaces) {
    throw new RuntimeError(
      'failed-precondition',
      `sandbox ${FIELD}: user namespaces cannot be used on this node: the kernel has none (user.max_user_namespaces), or the file system of the containers has no idmapped mounts`,
    );
  }
}

/** Ids that two pods share would let the one at the files of the other. */
export function requireOwnIds(
  { objects }: RuntimeContext,
  { id, userNamespace }: SandboxRecord,
): void {
  if (!userNamespace) return;
  for (const other of objects.sandboxes()) {
    const { record } = other;
    if (record.id === id || !other.ready || !record.userNamespace) continue;
    const common = overlapOf(userNamespace, record.userNamespace);
    if (common === undefined) continue;
    throw new RuntimeError(
      'failed-precondition',
      `sandbox ${FIELD}: host ids are pod sandbox ${record.id}'s (${record.metadata.namespace}/${record.metadata.name}): ${common}`,
    );
  }
}

/** Of a container and its mounts, against its pod's. */
export function requirePodsUserNamespace(request: ContainerRequest, { id, record }: Sandbox): void {
  const own = record.userNamespace;
  const pods = `pod sandbox ${id} has ${own ? describeMap(own) : "the host's"}`;
  const { name } = request.metadata;
  const asked = request.userNamespace;
  if (asked !== undefined && !isSame(asked, own)) {
    throw new RuntimeError(
      'invalid-argument',
      `container ${name}: ${FIELD} has ${asked ? describeMap(asked) : 'mode NODE'}, but ${pods}: they must be the same`,
    );
  }
  for (const { target, idMap } of request.mounts) {
    if (idMap === undefined || isSame(idMap, own)) continue;
    throw new RuntimeError(
      'invalid-argument',
      `container ${name}: mount ${target} has mappings of ${describeMap(idMap)}, but ${pods}: they must be the same`,
    );
  }
}

function isSame(a: UserNamespace | null, b: UserNamespace | null): boolean {
  return a && b ? isSameMap(a, b) : a === b;
}

/** What belongs to the pod's root on the host. */
export function podRoot({ userNamespace }: { userNamespace: UserNamespace | null }): {
  uid: number;
  gid: number;
} {
  return { uid: userNamespace?.uids.hostId ?? 0, gid: userNamespace?.gids.hostId ?? 0 };
}

/** Calls with a descriptor of the pod's user namespace, or without where it has the host's. */
export async function withUserNamespace<T>(
  context: RuntimeContext,
  { id, record }: Sandbox,
  work: (options: { userNamespace?: OwnedFd }) => Promise<T>,
): Promise<T> {
  if (!record.userNamespace) return work({});
  const userNamespace = context.host.openNamespace(context.namespaces.path(id, 'user'));
  try {
    return await work({ userNamespace });
  } finally {
    context.host.closeFd(userNamespace);
  }
}
