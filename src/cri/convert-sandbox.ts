/** Pod sandboxes between CRI messages and the runtime's own types. */
import { isIP } from 'node:net';
import { RuntimeError } from '../core/errors.js';
import type {
  NamespaceMode as Mode,
  NamespaceModes,
  Pairs,
  PortMapping,
  SandboxRecord,
  UserNamespace,
} from '../core/model.js';
import { parseUserNamespace } from '../core/user-namespace.js';
import type { SandboxRequest } from '../core/requests.js';
import type { Sandbox } from '../runtime/objects.js';
import { toResources } from './convert-resources.js';
import { NamespaceMode, type Namespace, type NamespaceOption } from './gen/namespace.js';
import type { PodSandboxStatus, RunPodSandboxRequest } from './gen/sandbox.js';
import { PodSandbox, PodSandboxState } from './gen/sandbox.js';
import { Protocol, type PortMapping as WirePort } from './gen/sandbox_config.js';

export function toSandboxRequest({ config, runtimeHandler }: RunPodSandboxRequest): SandboxRequest {
  if (!config?.metadata) {
    throw new RuntimeError(
      'invalid-argument',
      'RunPodSandbox: config.metadata is missing: give it',
    );
  }
  const security = config.linux?.securityContext;
  return {
    metadata: { ...config.metadata },
    hostname: config.hostname,
    logDirectory: config.logDirectory,
    dns: config.dnsConfig ? { ...config.dnsConfig } : null,
    portMappings: config.portMappings.map(toPort),
    labels: [...config.labels],
    annotations: [...config.annotations],
    cgroupParent: config.linux?.cgroupParent ?? '',
    namespaces: toNamespaces(security?.namespaceOptions),
    userNamespace: toUserNamespace(security?.namespaceOptions) ?? null,
    sysctls: config.linux ? [...config.linux.sysctls] : [],
    privileged: security?.privileged ?? false,
    runtimeHandler,
    overhead: toResources(config.linux?.overhead),
    resources: toResources(config.linux?.resources),
  };
}

/**
 * A request without namespace options gets a PID namespace per container: the zero value of the
 * field would mean one shared by the pod, which nobody asked for.
 */
export function toNamespaces(options: NamespaceOption | undefined): NamespaceModes {
  if (!options) return { network: 'pod', pid: 'container', ipc: 'pod', targetId: '' };
  return {
    network: podOrNode('network', options.network),
    pid: toMode('pid', options.pid),
    ipc: podOrNode('ipc', options.ipc),
    targetId: options.targetId,
  };
}

/** undefined for none named. */
export function toUserNamespace(
  options: NamespaceOption | undefined,
): UserNamespace | null | undefined {
  const wire = options?.usernsOptions;
  if (!wire) return undefined;
  const what = 'namespace_options.userns_options';
  const mode = podOrNode('userns_options.mode', wire.mode);
  if (mode === 'pod') return parseUserNamespace(what, wire);
  if (wire.uids.length === 0 && wire.gids.length === 0) return null;
  throw new RuntimeError(
    'invalid-argument',
    `${what}: mappings are given with mode NODE, which has none: use POD`,
  );
}

const MODES: readonly (readonly [NamespaceMode, Mode])[] = [
  [NamespaceMode.POD, 'pod'],
  [NamespaceMode.CONTAINER, 'container'],
  [NamespaceMode.NODE, 'node'],
  [NamespaceMode.TARGET, 'target'],
];

function toMode(field: string, wire: NamespaceMode): Mode {
  const found = MODES.find(([value]) => value === wire);
  if (found) return found[1];
  throw new RuntimeError('invalid-argument', `namespace_options.${field} ${wire} is unknown`);
}

function podOrNode(field: string, wire: NamespaceMode): 'pod' | 'node' {
  const mode = toMode(field, wire);
  if (mode === 'pod' || mode === 'node') return mode;
  throw new RuntimeError(
    'invalid-argument',
    `namespace_options.${field} ${mode.toUpperCase()} is not possible: use POD or NODE`,
  );
}

function toPort(wire: WirePort): PortMapping {
  for (const field of ['containerPort', 'hostPort'] as const) {
    if (wire[field] < 0 || wire[field] > 65535) {
      throw new RuntimeError(
        'invalid-argument',
        `port_mappings: ${field} ${wire[field]} is out of range: expected 0 to 65535`,
      );
    }
  }
  if (wire.hostIp !== '' && isIP(wire.hostIp) === 0) {
    throw new RuntimeError(
      'invalid-argument',
      `port_mappings: host_ip ${JSON.stringify(wire.hostIp.slice(0, 80))} is not an IP address`,
    );
  }
  return {
    protocol: toProtocol(wire.protocol),
    containerPort: wire.containerPort,
    hostPort: wire.hostPort,
    hostIp: wire.hostIp,
  };
}

function toProtocol(wire: Protocol): PortMapping['protocol'] {
  switch (wire) {
    case Protocol.TCP:
      return 'tcp';
    case Protocol.UDP:
      return 'udp';
    case Protocol.SCTP:
      return 'sctp';
    default:
      throw new RuntimeError('invalid-argument', `port_mappings: protocol ${wire} is unknown`);
  }
}

export function encodeSandboxItem(sandbox: Sandbox): Uint8Array {
  const { record } = sandbox;
  return PodSandbox.encode({
    id: record.id,
    metadata: record.metadata,
    state: sandboxState(sandbox),
    createdAt: BigInt(record.createdAt),
    labels: toMap(record.labels),
    annotations: toMap(record.annotations),
    runtimeHandler: record.runtimeHandler,
  }).finish();
}

export function toSandboxStatus(sandbox: Sandbox): PodSandboxStatus {
  const { record } = sandbox;
  const [ip = '', ...more] = sandbox.ready ? record.ips : [];
  return {
    id: record.id,
    metadata: record.metadata,
    state: sandboxState(sandbox),
    createdAt: BigInt(record.createdAt),
    network: { ip, additionalIps: more.map((address) => ({ ip: address })) },
    linux: { namespaces: toNamespace(record) },
    labels: toMap(record.labels),
    annotations: toMap(record.annotations),
    runtimeHandler: record.runtimeHandler,
  };
}

function toNamespace({ namespaces: modes, userNamespace }: SandboxRecord): Namespace {
  const wire = (mode: Mode): NamespaceMode =>
    MODES.find(([, name]) => name === mode)?.[0] ?? NamespaceMode.POD;
  return {
    options: {
      network: wire(modes.network),
      pid: wire(modes.pid),
      ipc: wire(modes.ipc),
      targetId: modes.targetId,
      usernsOptions: userNamespace
        ? {
            mode: NamespaceMode.POD,
            uids: [userNamespace.uids],
            gids: [userNamespace.gids],
          }
        : undefined,
    },
  };
}

export function sandboxState(sandbox: Sandbox): PodSandboxState {
  return sandbox.ready ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}

export function toMap(pairs: Pairs): Map<string, string> {
  return new Map(pairs);
}
