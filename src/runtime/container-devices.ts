/** The devices of a container: those it names, and all of the host's when it is privileged. */
import { mergeAccess, toDeviceNodes } from '../core/devices.js';
import type { DeviceNode } from '../core/model.js';
import type { ContainerRequest } from '../core/requests.js';
import type { RuntimeContext } from './context.js';

export async function resolveDevices(
  context: RuntimeContext,
  request: ContainerRequest,
): Promise<DeviceNode[]> {
  const nodes: DeviceNode[] = [];
  for (const device of request.devices) {
    nodes.push(...toDeviceNodes(device, await context.host.findDevices(device.hostPath)));
  }
  const taken = new Set(request.cdiNodes.map(({ path }) => path));
  const named = [...nodes.filter(({ path }) => !taken.has(path)), ...request.cdiNodes];
  if (!request.privileged) return mergeAccess(named);
  const host = { hostPath: '/dev', containerPath: '', permissions: 'rwm' };
  const all = toDeviceNodes(host, await context.host.findDevices(host.hostPath));
  // What a container has anyway, or names itself, stays.
  return [...named, ...all.map((node) => ({ ...node, optional: true }))];
}
