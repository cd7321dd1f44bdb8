/** What is mounted in a container: the pod's files and shared memory, and what the request names. */
import { posix } from 'node:path';
import type { BindMount, SpecMount } from '../core/model.js';
import type { OwnedFd } from '../core/ports/network.js';
import type { ContainerRequest, MountRequest } from '../core/requests.js';
import type { RuntimeContext } from './context.js';
import type { Sandbox } from './objects.js';
import { POD_FILES } from './sandbox-files.js';

export interface HostMounts {
  /** Files that were written for the pod. */
  podFiles: readonly string[];
  /** Images that are mounted, attached nowhere yet. */
  volumes: ReadonlyMap<MountRequest, OwnedFd>;
}

/**
 * Those of the pod and those asked for, in an order in which none hides another. Where both want the
 * same place the request's wins, as the kubelet relies on for /etc/hosts.
 */
export function orderedMounts(
  context: RuntimeContext,
  sandbox: Sandbox,
  request: ContainerRequest,
  { podFiles, volumes }: HostMounts,
): SpecMount[] {
  const { ipc } = sandbox.record.namespaces;
  const shm = ipc === 'pod' ? context.sharedMemory.path(sandbox.id) : '/dev/shm';
  const pod: [source: string, target: string, readonly: boolean][] = [
    ...POD_FILES.filter((name) => podFiles.includes(name)).map(
      (name): [string, string, boolean] => [
        context.folders.sandboxFile(sandbox.id, name),
        `/etc/${name}`,
        request.readonlyRootfs,
      ],
    ),
    [shm, '/dev/shm', false],
  ];
  const asked = request.mounts.map((mount): SpecMount => {
    const { source, readonly, recursiveReadonly, propagation, restrictions, idMap } = mount;
    const target = cleanPath(mount.target);
    const mounted = volumes.get(mount);
    return {
      ...{ source, target, readonly, recursiveReadonly, propagation },
      ...(mounted !== undefined ? { mounted } : { idmapped: idMap !== undefined }),
      ...(restrictions !== undefined && { restrictions }),
    };
  });
  const taken = new Set(asked.map((mount) => mount.target));
  const mounts = pod
    .filter(([, target]) => !taken.has(target))
    .map(([source, target, readonly]) => ({
      source,
      target,
      readonly,
      recursiveReadonly: false,
      propagation: 'private' as const,
    }));
  const depth = (mount: BindMount): number => mount.target.split('/').length;
  return [...mounts, ...asked].sort((a, b) => depth(a) - depth(b));
}

function cleanPath(path: string): string {
  return posix.normalize(path).replace(/(?<=.)\/$/, '');
}
