/** Checks of a RunPodSandbox request, and which namespaces it needs pinned. No side effects. */
import { RuntimeError } from '../core/errors.js';
import type { SandboxId } from '../core/ids.js';
import type { NamespaceModes } from '../core/model.js';
import type { SandboxRequest } from '../core/requests.js';
import { formatResolvConf } from '../core/resolv-conf.js';
import { validateSysctls } from '../core/sysctl.js';
import { requireAbsolutePath, requireNoControl, requireNonEmpty } from '../core/text.js';
import type { RuntimeContext } from './context.js';

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

/** Where the init of a shared PID namespace lives. */
export function podInitCgroup(
  { layouts }: RuntimeContext,
  record: { cgroup: string; id: SandboxId },
): string {
  return layouts.of(record.cgroup).podInit(record.cgroup, record.id);
}

/** The host's network comes with the host's UTS namespace: both answer to the node's name. */
export function pinnedKinds(modes: NamespaceModes): ('net' | 'ipc' | 'uts')[] {
  const kinds: ('net' | 'ipc' | 'uts')[] = [];
  if (modes.network === 'pod') kinds.push('net', 'uts');
  if (modes.ipc === 'pod') kinds.push('ipc');
  return kinds;
}
