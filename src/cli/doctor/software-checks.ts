/** Checks of what is installed and configured: liblxc, CNI, disk space. */
import { join } from 'node:path';
import type { Config } from '../../config/schema.js';
import { formatBytes } from '../human-units.js';
import { ok, problem, warning } from './check.js';
import type { Finding } from './check.js';
import type { HostView } from './host-view.js';

const LXC_PACKAGES = ['lxc-pve', 'liblxc1t64', 'liblxc1'];
const LIBRARY_FOLDERS = [
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib/aarch64-linux-gnu',
  '/usr/lib',
  '/usr/lib64',
  '/usr/local/lib',
];
const LOW_BYTES = 2 * 1024 ** 3;
const EMPTY_BYTES = 256 * 1024 ** 2;
const PROGRAM_FOLDERS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/sbin'];

export async function softwareChecks(host: HostView, config: Config): Promise<Finding[]> {
  return [await liblxc(host), ...(await cni(host, config)), await disk(host, config.root)];
}

async function liblxc(host: HostView): Promise<Finding> {
  const folders = await Promise.all(LIBRARY_FOLDERS.map((path) => host.list(path)));
  const isThere = folders.some((names) => names?.includes('liblxc.so.1'));
  if (!isThere) {
    return problem(
      'liblxc',
      'liblxc.so.1 is not installed: containers are run by it',
      'install it by: apt install liblxc1 (Proxmox VE: apt install lxc-pve)',
    );
  }
  const status = (await host.read('/var/lib/dpkg/status')) ?? '';
  const version = packageVersion(status, LXC_PACKAGES);
  if (version === undefined) return ok('liblxc', 'present, not from a Debian package');
  const major = Number(/^(?:\d+:)?(\d+)/.exec(version)?.[1] ?? 0);
  if (major >= 5) return ok('liblxc', version);
  return problem(
    'liblxc',
    `version ${version} is too old: 5.0 or newer is needed`,
    'upgrade to Debian 12 or Proxmox VE 8, or newer',
  );
}

/** From dpkg's status file, of the first of the packages that is installed. */
function packageVersion(status: string, packages: readonly string[]): string | undefined {
  for (const name of packages) {
    const entry = status.split('\n\n').find((text) => text.startsWith(`Package: ${name}\n`));
    if (entry === undefined || !/^Status: .* installed$/m.test(entry)) continue;
    return /^Version: (.+)$/m.exec(entry)?.[1];
  }
  return undefined;
}

interface NetworkFile {
  file: string;
  plugins: Record<string, unknown>[];
}

/** The agent's own view is in its Status; this one says which file or program is missing. */
async function cni(host: HostView, config: Config): Promise<Finding[]> {
  const { conf_dir: folder, bin_dirs: binFolders } = config.network;
  const names = ((await host.list(folder)) ?? []).filter((name) =>
    /^[^.].*\.(conflist|conf|json)$/.test(name),
  );
  const broken: string[] = [];
  let network: NetworkFile | undefined;
  for (const name of names) {
    network = parseNetwork(name, (await host.read(join(folder, name))) ?? '');
    if (network !== undefined) break;
    broken.push(name);
  }
  const findings: Finding[] = [];
  if (broken.length > 0) {
    findings.push(
      warning(
        'cni network',
        `${broken.map((name) => join(folder, name)).join(', ')} can't be used: no list of plugins`,
        'mend it or remove it',
      ),
    );
  }
  if (network === undefined) {
    findings.push(
      problem(
        'cni network',
        `no network configuration in ${folder}: only pods on the host's network can run`,
        `put one there: examples/10-pvecri.conflist is a bridge with addresses of its own`,
      ),
    );
    return findings;
  }
  findings.push(ok('cni network', join(folder, network.file)));
  findings.push(...(await plugins(host, network, binFolders)));
  return findings;
}

function parseNetwork(file: string, text: string): NetworkFile | undefined {
  try {
    const json: unknown = JSON.parse(text);
    if (!isRecord(json)) return undefined;
    const list = file.endsWith('.conflist') ? json['plugins'] : [json];
    if (!Array.isArray(list) || list.length === 0) return undefined;
    const plugins = list.filter(isRecord);
    return plugins.length === list.length ? { file, plugins } : undefined;
  } catch {
    return undefined;
  }
}

async function plugins(
  host: HostView,
  network: NetworkFile,
  folders: readonly string[],
): Promise<Finding[]> {
  const types = network.plugins.flatMap((plugin) => {
    const ipam = isRecord(plugin['ipam']) ? plugin['ipam']['type'] : undefined;
    return [plugin['type'], ipam].filter((type): type is string => typeof type === 'string');
  });
  const missing: string[] = [];
  for (const type of new Set(types)) {
    const found = await Promise.all(folders.map((path) => host.isExecutable(join(path, type))));
    if (!found.includes(true)) missing.push(type);
  }
  const findings: Finding[] = [];
  if (missing.length > 0) {
    findings.push(
      problem(
        'cni plugins',
        `${network.file} names ${missing.join(', ')}, and no program of that name is in ${folders.join(', ')}`,
        'install them by: apt install containernetworking-plugins',
      ),
    );
  } else {
    findings.push(ok('cni plugins', [...new Set(types)].join(', ')));
  }
  const masquerades = network.plugins.some(
    (plugin) => plugin['type'] === 'portmap' || plugin['ipMasq'] === true,
  );
  if (masquerades && !(await hasProgram(host, 'iptables'))) {
    findings.push(
      problem(
        'iptables',
        `${network.file} maps ports or masquerades addresses, for which its plugins call iptables, and that is not installed`,
        'install it by: apt install iptables',
      ),
    );
  }
  return findings;
}

async function hasProgram(host: HostView, name: string): Promise<boolean> {
  const found = await Promise.all(
    PROGRAM_FOLDERS.map((folder) => host.isExecutable(join(folder, name))),
  );
  return found.includes(true);
}

async function disk(host: HostView, root: string): Promise<Finding> {
  const space = await host.space(root);
  if (space === undefined) {
    return warning('disk', `can't tell the free space of ${root}`, 'look by: df -h');
  }
  const free = `${formatBytes(space.freeBytes)} of ${formatBytes(space.totalBytes)} free at ${root}`;
  const remedy = 'make room, remove images by pvecri rmi, or set root in the configuration';
  // Filesystems without a fixed number of inodes (btrfs, ZFS) tell 0 of them.
  if (space.totalInodes > 0 && space.freeInodes < space.totalInodes / 100) {
    return problem('disk', `${free}, but under 1 % of its inodes`, remedy);
  }
  if (space.freeBytes < EMPTY_BYTES) return problem('disk', free, remedy);
  if (space.freeBytes < LOW_BYTES || space.freeBytes < space.totalBytes / 20) {
    return warning('disk', free, remedy);
  }
  return ok('disk', free);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
