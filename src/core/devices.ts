/** Device nodes of a container: what the request names, as what the shim makes and lets through. */
import { posix } from 'node:path';
import { RuntimeError } from './errors.js';
import type { DeviceNode } from './model.js';
import type { DeviceRequest } from './requests.js';
import { requireAbsolutePath } from './text.js';

/** A node on the host; `name` is its path below the folder that was asked for, '' for itself. */
export type HostDevice = Pick<DeviceNode, 'type' | 'major' | 'minor' | 'mode' | 'uid' | 'gid'> & {
  path: string;
  name: string;
};

/** BPF_DEVCG_ACC_MKNOD, _READ and _WRITE of linux/bpf.h. */
const ACCESS = [
  ['m', 1],
  ['r', 2],
  ['w', 4],
] as const;

export function validateDevice({ hostPath, containerPath, permissions }: DeviceRequest): void {
  requireAbsolutePath('device host_path', hostPath);
  if (containerPath !== '') requireAbsolutePath('device container_path', containerPath);
  parseAccess(hostPath, permissions);
}

/** `containerPath` '' stands for the host's own path, as with the other runtimes. */
export function toDeviceNodes(
  { hostPath, containerPath, permissions }: DeviceRequest,
  found: readonly HostDevice[],
): DeviceNode[] {
  const access = parseAccess(hostPath, permissions);
  return found.map(({ path, name, ...node }) => ({
    ...node,
    path: containerPath === '' ? path : posix.join(containerPath, name),
    access,
    optional: false,
  }));
}

/** The accesses of a device that is given twice add up, so that both may be asked for at once. */
export function mergeAccess(nodes: readonly DeviceNode[]): DeviceNode[] {
  const key = ({ type, major, minor }: DeviceNode): string => `${type} ${major}:${minor}`;
  const sum = new Map<string, number>();
  for (const node of nodes) sum.set(key(node), (sum.get(key(node)) ?? 0) | node.access);
  return nodes.map((node) => ({ ...node, access: sum.get(key(node)) ?? node.access }));
}

function parseAccess(hostPath: string, permissions: string): number {
  if (/^[rwm]+$/.test(permissions)) {
    return ACCESS.reduce((sum, [letter, bit]) => sum | (permissions.includes(letter) ? bit : 0), 0);
  }
  throw new RuntimeError(
    'invalid-argument',
    `device ${hostPath}: permissions ${JSON.stringify(permissions.slice(0, 80))} are malformed: expected one or more of r, w and m`,
  );
}
