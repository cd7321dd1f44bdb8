/** Requests with sensible values, to be changed where a test cares. */
import type { ContainerRequest, SandboxRequest } from '../../src/core/requests.js';

export function sandboxRequest(change: Partial<SandboxRequest> = {}): SandboxRequest {
  return {
    metadata: { name: 'web', uid: 'u-1', namespace: 'default', attempt: 0 },
    hostname: 'web',
    logDirectory: '/var/log/pods/web',
    dns: null,
    portMappings: [],
    labels: [['app', 'web']],
    annotations: [],
    cgroupParent: '',
    namespaces: { network: 'pod', pid: 'container', ipc: 'pod', targetId: '' },
    userNamespace: null,
    sysctls: [],
    privileged: false,
    runtimeHandler: '',
    overhead: null,
    resources: null,
    ...change,
  };
}

export function containerRequest(
  sandboxId: string,
  change: Partial<ContainerRequest> = {},
): ContainerRequest {
  return {
    sandboxId,
    metadata: { name: 'main', attempt: 0 },
    image: 'busybox',
    userSpecifiedImage: '',
    command: [],
    args: [],
    workingDir: '',
    env: [],
    devices: [],
    cdiDevices: [],
    cdiNodes: [],
    cdiHooks: null,
    mounts: [],
    labels: [],
    annotations: [],
    logPath: 'main/0.log',
    stdin: false,
    stdinOnce: false,
    tty: false,
    user: { uid: null, gid: null, username: '', supplementalGroups: [], policy: 'merge' },
    capabilities: { add: [], drop: [], ambient: [] },
    privileged: false,
    readonlyRootfs: false,
    noNewPrivileges: false,
    seccomp: 'runtime-default',
    apparmor: null,
    maskedPaths: [],
    readonlyPaths: [],
    pid: 'container',
    targetId: '',
    resources: null,
    oomScoreAdj: null,
    stopSignal: 0,
    ...change,
  };
}
