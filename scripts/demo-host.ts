// What the demo leaves on the host: finding it, and ending it when something went wrong.
import {
  existsSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';

/** What tells the demo's own objects from everything else on the host. */
export interface Traces {
  /** All of its files and mounts are below it. */
  folder: string;
  /** Name of its folder in each cgroup hierarchy; '' before it is known. */
  cgroup: string;
  /** Identity of its network namespace, as `net:[4026532000]`; '' before it is known. */
  network: string;
  /** Those of the host, from before. */
  interfaces: string[];
}

export type Leftovers = Record<string, string[]>;

export function hostInterfaces(): string[] {
  return readdirSync('/sys/class/net').sort();
}

export function networkOf(pid: number): string {
  return readlinkSync(`/proc/${pid}/ns/net`);
}

/** Each kind of leftover with what was found of it. */
export function leftovers(traces: Traces): Leftovers {
  return {
    processes: processes(traces).map(({ pid, command }) => `${pid} ${command}`),
    mounts: mountPoints(traces),
    'network namespaces': networkUsers(traces),
    'network interfaces': hostInterfaces().filter((name) => !traces.interfaces.includes(name)),
    cgroups: cgroupFolders(traces),
    'records, layers of containers, leases and logs': podFiles(traces),
  };
}

/** Ends by force what is left, in the order in which one holds the other. */
export function endByForce(traces: Traces): void {
  for (const folder of cgroupFolders(traces))
    tryTo(() => {
      writeFileSync(join(folder, 'cgroup.kill'), '1');
    });
  for (const { pid } of processes(traces))
    tryTo(() => {
      process.kill(pid, 'SIGKILL');
    });
  for (const path of mountPoints(traces).reverse()) {
    tryTo(() => execFileSync('umount', ['-l', path], { stdio: 'ignore' }));
  }
  for (const folder of cgroupFolders(traces)) removeCgroup(folder);
}

function processes({ folder, cgroup, network }: Traces): { pid: number; command: string }[] {
  return processIds().flatMap((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      const isOurs =
        command.includes(`${folder}/`) ||
        (cgroup !== '' && readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(cgroup)) ||
        (network !== '' && readlinkSync(`/proc/${pid}/ns/net`) === network);
      return isOurs && pid !== process.pid ? [{ pid, command: command.slice(0, 80) }] : [];
    } catch {
      // Ended while it was looked at.
      return [];
    }
  });
}

function processIds(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function mountPoints({ folder }: Traces): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith(`${folder}/`));
}

/** Namespaces that a bind mount holds, anywhere. */
function networkUsers({ network }: Traces): string[] {
  if (network === '') return [];
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(` ${network} `));
}

function cgroupFolders({ cgroup }: Traces): string[] {
  if (cgroup === '') return [];
  // On a hybrid host each controller has a hierarchy of its own beside the v2 one.
  const roots = [
    '/sys/fs/cgroup',
    ...readdirSync('/sys/fs/cgroup').map((name) => `/sys/fs/cgroup/${name}`),
  ];
  return roots.map((root) => join(root, cgroup)).filter((folder) => existsSync(folder));
}

/** The kernel takes a folder away when it is empty; its files do not count. */
function removeCgroup(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroup(join(folder, entry.name));
  }
  tryTo(() => {
    rmdirSync(folder);
  });
}

function podFiles({ folder }: Traces): string[] {
  const folders = [
    'root/sandboxes',
    'root/containers',
    'root/networks',
    'root/run-pods',
    'state/sandboxes',
    'state/containers',
    'state/namespaces',
    'logs',
  ];
  const leases = list(join(folder, 'leases', 'demo')).filter((name) => /^\d+\./.test(name));
  return [...folders.flatMap((path) => list(join(folder, path))), ...leases];
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

function tryTo(work: () => void): void {
  try {
    work();
  } catch {
    // What can't be ended is found by the check that follows.
  }
}
