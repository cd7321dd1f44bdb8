/** Check of the storage that is configured: whether its programs and the kernel's part are there. */
import type { Config } from '../../config/schema.js';
import { ok, problem } from './check.js';
import type { Finding } from './check.js';
import type { HostView } from './host-view.js';

const FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin', '/usr/bin'];

interface Needs {
  /** Program and the Debian package that has it. */
  programs: readonly (readonly [program: string, name: string])[];
  module: string;
  /** Keys that have no useful default. */
  keys: Readonly<Record<string, string>>;
}

/** No finding for overlayfs, which the agent tries by itself at its start. */
export async function storageChecks(host: HostView, { rootfs }: Config): Promise<Finding[]> {
  if (rootfs.driver === 'overlay') return [];
  const needs = rootfs.driver === 'zfs' ? zfsNeeds(rootfs) : thinNeeds(rootfs);
  const findings: Finding[] = [];
  const name = 'storage';
  for (const [key, value] of Object.entries(needs.keys)) {
    if (value === '') {
      const message = `rootfs.driver is "${rootfs.driver}", but ${key} is empty`;
      findings.push(problem(name, message, `set ${key}: docs/storage.md`));
    }
  }
  for (const [program, packageName] of needs.programs) {
    const found = await Promise.all(
      FOLDERS.map((folder) => host.isExecutable(`${folder}/${program}`)),
    );
    if (found.includes(true)) continue;
    findings.push(problem(name, `${program} is not installed`, `apt-get install ${packageName}`));
  }
  if ((await host.list(`/sys/module/${needs.module}`)) === undefined) {
    findings.push(
      problem(name, `the kernel has no ${needs.module} loaded`, `modprobe ${needs.module}`),
    );
  }
  return findings.length > 0 ? findings : [ok(name, `${rootfs.driver}: programs and kernel`)];
}

function thinNeeds({ lvm_thin: thin }: Config['rootfs']): Needs {
  return {
    programs: [
      ['lvcreate', 'lvm2'],
      ['thin_check', 'thin-provisioning-tools'],
      ['mkfs.ext4', 'e2fsprogs'],
    ],
    module: 'dm_thin_pool',
    keys: { 'rootfs.lvm_thin.volume_group': thin.volume_group, 'rootfs.lvm_thin.pool': thin.pool },
  };
}

function zfsNeeds({ zfs }: Config['rootfs']): Needs {
  return {
    programs: [['zfs', 'zfsutils-linux']],
    module: 'zfs',
    keys: { 'rootfs.zfs.dataset': zfs.dataset },
  };
}
