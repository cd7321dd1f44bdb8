/** A pod's resolv.conf, hostname and hosts, for containers that mount none of their own there. */
import { formatHosts } from '../core/hosts-file.js';
import type { SandboxRecord } from '../core/model.js';
import type { SandboxRequest } from '../core/requests.js';
import { formatResolvConf } from '../core/resolv-conf.js';
import type { RuntimeContext } from './context.js';
import { podRoot } from './pod-user-namespace.js';

/** Names of a pod's own files, each for /etc of its containers. */
export const POD_FILES: readonly string[] = ['hostname', 'hosts', 'resolv.conf'];

/** A pod on the host's network shares its UTS namespace, and so its name. */
export function sandboxHostname(context: RuntimeContext, request: SandboxRequest): string {
  const own = request.namespaces.network === 'pod' ? request.hostname : '';
  return own === '' ? context.host.hostname() : own;
}

export async function writeNameFiles(
  context: RuntimeContext,
  record: SandboxRecord,
): Promise<void> {
  const { id, dns, hostname } = record;
  const owner = podRoot(record);
  const resolvConf = dns
    ? formatResolvConf(dns)
    : await context.host.readTextFile('/etc/resolv.conf');
  if (resolvConf !== null)
    await context.folders.writeSandboxFile(id, 'resolv.conf', resolvConf, owner);
  await context.folders.writeSandboxFile(id, 'hostname', `${hostname}\n`, owner);
}

/** Once the pod's addresses are known. */
export async function writeHostsFile(
  context: RuntimeContext,
  record: SandboxRecord,
  ips: readonly string[],
): Promise<void> {
  const { id, namespaces, hostname } = record;
  const hosts =
    namespaces.network === 'pod'
      ? formatHosts(hostname, ips)
      : await context.host.readTextFile('/etc/hosts');
  if (hosts !== null) await context.folders.writeSandboxFile(id, 'hosts', hosts, podRoot(record));
}
