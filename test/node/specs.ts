/**
 * The test files whose subject is real on the test node alone, or differs there. A file that is not
 * here for want of time can be named to `scripts/node test`: recovery of an agent and the facts of an
 * end, say, which the service and the systemd driver are asked for too.
 */
export const SPECS = [
  'test/node/*.spec.ts',
  ...['apparmor', 'pod-path', 'systemd-driver', 'update'].map(
    (name) => `test/integration/agent/${name}.spec.ts`,
  ),
  'test/integration/cgroup/*.spec.ts',
  ...['exec', 'isolation', 'lifecycle', 'mounts', 'payload'].map(
    (name) => `test/integration/lxc/${name}.spec.ts`,
  ),
  'test/integration/nri/updates.spec.ts',
  'test/integration/systemd/*.spec.ts',
];

/** Those of ZFS, with PVECRI_NODE_ZFS=1. */
export const ZFS_SPECS = ['test/integration/storage/zfs-*.spec.ts'];
