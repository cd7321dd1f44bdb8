/** A container with its CDI devices: the request with what they bring, as if its caller had asked for that. */
import type { CdiDeviceNode, CdiMount } from '../core/cdi.js';
import { toDeviceNodes } from '../core/devices.js';
import { RuntimeError, wrap } from '../core/errors.js';
import type { DeviceNode } from '../core/model.js';
import type { ContainerRequest, MountRequest } from '../core/requests.js';
import { validateContainer } from './container-plan.js';
import type { RuntimeContext } from './context.js';

/** Without CDI devices the request as it is. */
export async function withCdiDevices(
  context: RuntimeContext,
  request: ContainerRequest,
): Promise<ContainerRequest> {
  if (request.cdiDevices.length === 0) return request;
  const edits = await context.host.findCdiDevices(request.cdiDevices);
  const nodes: DeviceNode[] = [];
  for (const node of edits.deviceNodes) nodes.push(await toNode(context, request, node));
  for (const { source } of edits.mounts) await context.host.requireExisting('CDI mount', source);
  const targets = new Set(edits.mounts.map(({ target }) => target));
  const { user } = request;
  const edited: ContainerRequest = {
    ...request,
    env: [...request.env, ...edits.env],
    mounts: [
      ...request.mounts.filter(({ target }) => !targets.has(target)),
      ...lastOfEach(edits.mounts).map(toMountRequest),
    ],
    // At one path the CDI device's counts, as with the other runtimes.
    cdiNodes: nodes,
    cdiHooks: edits.hooks,
    user: {
      ...user,
      supplementalGroups: [...new Set([...user.supplementalGroups, ...edits.additionalGids])],
    },
  };
  validateContainer(edited);
  return edited;
}

async function toNode(
  context: RuntimeContext,
  { user }: ContainerRequest,
  { path, hostPath, permissions, ...wanted }: CdiDeviceNode,
): Promise<DeviceNode> {
  const found =
    wanted.numbers === null ? await hostNode(context, hostPath) : { ...wanted.numbers, ...PLAIN };
  const [node] = toDeviceNodes({ hostPath, containerPath: path, permissions }, [
    { path: hostPath, name: '', ...found },
  ]);
  if (!node) throw new RuntimeError('internal', `no device node for ${path}`);
  return {
    ...node,
    mode: wanted.mode ?? node.mode,
    // Who is to use it owns it, unless the file says who.
    uid: wanted.uid ?? (user.uid === null || user.uid === 0 ? node.uid : user.uid),
    gid: wanted.gid ?? (user.gid === null || user.gid === 0 ? node.gid : user.gid),
  };
}

/** Of a node that the file describes whole; runc gives those without a mode the same. */
const PLAIN = { mode: 0o666, uid: 0, gid: 0 };

async function hostNode(
  context: RuntimeContext,
  hostPath: string,
): Promise<Pick<DeviceNode, 'type' | 'major' | 'minor' | 'mode' | 'uid' | 'gid'>> {
  const found = await context.host.findDevices(hostPath).catch((error: unknown) => {
    throw wrap(error, 'CDI device node', 'failed-precondition');
  });
  const [device] = found;
  if (device?.name === '' && found.length === 1) {
    const { type, major, minor, mode, uid, gid } = device;
    return { type, major, minor, mode, uid, gid };
  }
  throw new RuntimeError('invalid-argument', `CDI device node ${hostPath} is a folder`);
}

/** Several devices may bring the same library. */
function lastOfEach(mounts: readonly CdiMount[]): CdiMount[] {
  return [...new Map(mounts.map((mount) => [mount.target, mount])).values()];
}

function toMountRequest(mount: CdiMount): MountRequest {
  return { ...mount };
}
