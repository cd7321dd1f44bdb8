/** What is installed on the test node, and the name of this combination. */
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
  ...['procps', 'wget', 'zstd', 'xz-utils', 'libisal2', 'e2fsprogs'],
  ...['lvm2', 'thin-provisioning-tools'],
];

/** Folders and kinds of files that no test reads. */
export const EXCLUDED = ['doc/*', 'man/*', 'locale/*', 'info/*', 'lintian/*'].map(
  (path) => `/usr/share/${path}`,
);

export const DISK_SIZE = '12G';
/** Same recipe, same image. */
export function recipeHash(): string {
  const hash = createHash('sha256');
  for (const name of ['recipe.ts', 'image.ts', 'image/customize', 'image/init']) {
    hash.update(readFileSync(join(import.meta.dirname, name))).update('\0');
  }
  return hash.digest('hex').slice(0, 16);
}
