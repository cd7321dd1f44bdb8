/**
 * OpenZFS for the test node, on demand: Debian has it as source alone, and to build it takes two cores
 * five minutes. Kept beside the images, by the kernel it is for.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CACHE } from './image.js';
import { MIRROR, SUITE } from './recipe.js';
import { outputOf, type Address } from './remote.js';
import { run, timed } from './steps.js';
import { sendFolder } from './tree.js';

export const WANTS_ZFS = process.env['PVECRI_NODE_ZFS'] === '1';

/** Puts modules and programs on a machine and loads them. */
export function sendZfs(address: Address): void {
  const kernel = outputOf(address, 'uname -r').trim();
  const folder = join(CACHE, `zfs-${kernel}`);
  if (!existsSync(folder)) {
    timed('building the modules of ZFS', () => {
      build(kernel, folder);
    });
  }
  sendFolder(address, folder, '/');
  outputOf(address, 'ldconfig && depmod && modprobe zfs && zfs version');
}

function build(kernel: string, folder: string): void {
  mkdirSync(CACHE, { recursive: true });
  const unfinished = join(CACHE, `.zfs-${kernel}`);
  const [tree, out] = [join(unfinished, 'tree'), join(unfinished, 'out')];
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(out, { recursive: true, mode: 0o700 });
  run(
    'mmdebstrap',
    [
      ...['--quiet', '--mode=root', '--variant=apt', '--architectures=amd64', '--format=directory'],
      ...['--components=main,contrib', '--dpkgopt=force-unsafe-io'],
      `--include=linux-headers-${kernel},zfs-dkms`,
      // Else the package builds them itself, for the kernel that runs here.
      '--essential-hook=mkdir -p "$1/etc/dkms/framework.conf.d"',
      `--essential-hook=echo 'autoinstall_all_kernels=""' > "$1/etc/dkms/framework.conf.d/none.conf"`,
      `--customize-hook=${join(import.meta.dirname, 'image/zfs-modules')} "$1" '${out}'`,
      ...[SUITE, tree, MIRROR],
    ],
    { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' } },
  );
  if (readdirSync(out).length === 0) throw new Error(`nothing was built for ${kernel}`);
  renameSync(out, folder);
  rmSync(unfinished, { recursive: true });
}
