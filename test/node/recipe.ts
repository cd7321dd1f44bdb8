/** What the test node is made of: its packages, its machine, and the name of this combination. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const SUITE = 'trixie';
export const MIRROR = process.env['PVECRI_TEST_MIRROR'] ?? 'http://deb.debian.org/debian';

/** What runs there, and what the tests call. Nothing is compiled there: the host does that. */
export const PACKAGES = [
  ...['systemd-sysv', 'dbus', 'udev', 'kmod', 'linux-image-cloud-amd64', 'openssh-server'],
  ...['apparmor', 'nodejs', 'liblxc1t64', 'liblxc-common', 'libseccomp2', 'libarchive13t64'],
  ...['containernetworking-plugins', 'iproute2', 'iptables', 'nftables', 'busybox-static'],
  ...['procps', 'wget', 'zstd'],
];

/** Folders and kinds of files that no test reads. */
export const EXCLUDED = ['doc/*', 'man/*', 'locale/*', 'info/*', 'lintian/*'].map(
  (path) => `/usr/share/${path}`,
);

export const DISK_SIZE = '12G';
export const MEMORY_MB = 3072;
export const CPUS = 2;

/** psi=1: Debian builds it in and leaves it off, Proxmox VE has it on. */
export const KERNEL_ARGUMENTS =
  'console=ttyS0 root=/dev/vda quiet panic=-1 net.ifnames=0 mitigations=off psi=1 systemd.show_status=no';

/** Features that cost an emulator time at each entry into the kernel, and change nothing for tests. */
export const EMULATED_CPU = 'max,la57=off,pku=off,smap=off,smep=off,umip=off';

/** Same recipe, same image. */
export function recipeHash(): string {
  const hash = createHash('sha256');
  for (const name of ['recipe.ts', 'image.ts', 'image/customize', 'image/init']) {
    hash.update(readFileSync(join(import.meta.dirname, name))).update('\0');
  }
  return hash.digest('hex').slice(0, 16);
}
