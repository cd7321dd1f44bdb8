/** Check of the cgroup driver: whether this host can work as it is configured. */
import type { Config } from '../../config/schema.js';
import { ok, problem } from './check.js';
import type { Finding } from './check.js';
import type { HostView } from './host-view.js';

/** No finding for cgroupfs, which asks for no more than the kernel's checks do. */
export async function cgroupDriverChecks(host: HostView, { cgroup }: Config): Promise<Finding[]> {
  if (cgroup.driver !== 'systemd') return [];
  const name = 'cgroup driver';
  const otherwise = 'or set cgroup.driver to "cgroupfs", and the kubelet\'s cgroupDriver too';
  // sd_booted(3)
  if ((await host.list('/run/systemd/system')) === undefined) {
    return [
      problem(
        name,
        'it is systemd, but systemd does not run this host',
        `boot with systemd, ${otherwise}`,
      ),
    ];
  }
  if ((await host.read('/sys/fs/cgroup/cgroup.controllers')) === undefined) {
    return [
      problem(
        name,
        'it is systemd, but /sys/fs/cgroup is not cgroup v2 alone',
        `boot with systemd.unified_cgroup_hierarchy=1 on the kernel command line, ${otherwise}`,
      ),
    ];
  }
  return [ok(name, "systemd; the kubelet's cgroupDriver must be systemd as well")];
}
