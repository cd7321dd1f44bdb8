/** Checks of a RunPodSandbox request, and which namespaces it needs pinned. No side effects. */
import { RuntimeError } from '../core/errors.js';
import type { NamespaceModes } from '../core/model.js';
import type { SandboxRequest } from '../core/requests.js';
import { formatResolvConf } from '../core/resolv-conf.js';
import { validateSysctls } from '../core/sysctl.js';
import {
  requireAbsolutePath,
  requireCgroup,
  requireNoControl,
  requireNonEmpty,
} from '../core/text.js';

/** HOST_NAME_MAX of Linux: sethostname(2) refuses more. */
const HOSTNAME_MAX = 64;

export function validateSandbox(request: SandboxRequest): void {
  const { metadata } = request;
  for (const field of ['name', 'namespace', 'uid'] as const) {
    requireNonEmpty(`sandbox metadata.${field}`, metadata[field]);
    requireNoControl(`sandbox metadata.${field}`, metadata[field]);
  }
  requireNoControl('sandbox hostname', request.hostname);
  if (Buffer.byteLength(request.hostname) > HOSTNAME_MAX) {
    throw new RuntimeError(
      'invalid-argument',
      `sandbox hostname ${JSON.stringify(request.hostname.slice(0, 80))} is too long: at most ${HOSTNAME_MAX} bytes`,
    );
  }
  if (request.logDirectory !== '') {
    requireAbsolutePath('sandbox log_directory', request.logDirectory);
  }
  if (request.cgroupParent !== '') {
    requireCgroup('sandbox linux.cgroup_parent', request.cgroupParent);
    if (request.cgroupParent.endsWith('.slice')) {
      throw new RuntimeError(
        'invalid-argument',
        `sandbox linux.cgroup_parent ${JSON.stringify(request.cgroupParent)} is a systemd slice, but the cgroup driver is cgroupfs: set the kubelet's cgroupDriver to cgroupfs`,
      );
    }
  }
  if (request.runtimeHandler !== '') {
    throw new RuntimeError(
      'not-found',
      `runtime handler ${JSON.stringify(request.runtimeHandler.slice(0, 80))} does not exist: only the default handler "" does`,
    );
  }
  if (request.dns) formatResolvConf(request.dns);
  validateSysctls(request.sysctls, request.namespaces);
  if (request.namespaces.pid === 'target') {
    throw new RuntimeError(
      'invalid-argument',
      'sandbox namespace_options.pid TARGET is for containers: use CONTAINER or NODE',
    );
  }
}

/** Where the init of a shared PID namespace lives: a pod's cgroup itself holds no processes. */
export function podInitCgroup(record: { cgroup: string; id: string }): string {
  return `${record.cgroup}/${record.id}`;
}

/** The host's network comes with the host's UTS namespace: both answer to the node's name. */
export function pinnedKinds(modes: NamespaceModes): ('net' | 'ipc' | 'uts')[] {
  const kinds: ('net' | 'ipc' | 'uts')[] = [];
  if (modes.network === 'pod') kinds.push('net', 'uts');
  if (modes.ipc === 'pod') kinds.push('ipc');
  return kinds;
}
