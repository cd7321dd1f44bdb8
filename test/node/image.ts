/** Builds the disk, kernel and initrd of the test node, once for each recipe. */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { DISK_SIZE, EXCLUDED, MIRROR, PACKAGES, recipeHash, SUITE } from './recipe.js';
import { run, timed } from './steps.js';

/** One for all clones of a user, so that a clean one has it at once. */
export const CACHE = join(
  process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
  'pvecri-test-node',
);
/** Images kept: of this recipe, and of the one of another branch. */
const KEPT = 2;

export interface Image {
  folder: string;
  disk: string;
  kernel: string;
  initrd: string;
  /** The private key that opens it. */
  key: string;
}

export function imageOf(folder: string): Image {
  return {
    folder,
    disk: join(folder, 'disk.img'),
    kernel: join(folder, 'vmlinuz'),
    initrd: join(folder, 'initrd'),
    key: join(folder, 'key'),
  };
}

/** The image of this recipe, built when it is not there yet. One process at a time calls this. */
export function ensureImage(): Image {
  const name = recipeHash();
  const image = imageOf(join(CACHE, name));
  if (!existsSync(image.folder)) {
    mkdirSync(CACHE, { recursive: true });
    const unfinished = join(CACHE, `.${name}`);
    rmSync(unfinished, { recursive: true, force: true });
    timed('building the image', () => {
      build(imageOf(unfinished));
    });
    renameSync(unfinished, image.folder);
  }
  const now = new Date();
  utimesSync(image.folder, now, now);
  const folders = readdirSync(CACHE)
    .filter((entry) => /^[0-9a-f]+$/.test(entry))
    .sort((a, b) => statSync(join(CACHE, b)).mtimeMs - statSync(join(CACHE, a)).mtimeMs);
  for (const old of folders.slice(KEPT)) rmSync(join(CACHE, old), { recursive: true });
  return image;
}

function build(image: Image): void {
  if (process.getuid?.() !== 0) throw new Error('only root can build the image of the test node');
  mkdirSync(image.folder, { mode: 0o700 });
  run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'test-node', '-f', image.key]);
  const tree = join(image.folder, 'tree');
  const customize = join(import.meta.dirname, 'image/customize');
  run(
    'mmdebstrap',
    [
      '--quiet',
      ...['--mode=root', '--variant=essential', '--architectures=amd64', '--format=directory'],
      `--include=${PACKAGES.join(',')}`,
      ...EXCLUDED.map((path) => `--dpkgopt=path-exclude=${path}`),
      // It is thrown away when it does not get finished.
      '--dpkgopt=force-unsafe-io',
      `--customize-hook=${customize} "$1" '${image.key}.pub'`,
      ...[SUITE, tree, MIRROR],
    ],
    // Debian's kernel package makes no initrd then.
    { env: { ...process.env, INITRD: 'No', DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' } },
  );
  for (const [name, target] of [
    ['vmlinuz', image.kernel],
    ['initrd', image.initrd],
  ] as const) {
    copyFileSync(join(tree, 'boot', name), target);
  }
  const options = 'lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0';
  run('mke2fs', ['-q', '-t', 'ext4', '-E', options, '-d', tree, image.disk, DISK_SIZE]);
  // The tree holds the packages' own set-uid programs: not to be left where users may walk.
  rmSync(tree, { recursive: true });
}

/** What the host lacks to run a machine at all, in words; undefined when nothing. */
export function missingOnHost(): string | undefined {
  if (process.arch !== 'x64') return `the test node is x86-64, this host ${process.arch}`;
  const programs = ['qemu-system-x86_64', 'qemu-img', 'mmdebstrap', 'mke2fs', 'ssh', 'zstd'];
  const missing = programs.filter((program) => {
    try {
      execFileSync('sh', ['-c', 'command -v "$0"', program], { stdio: 'ignore' });
      return false;
    } catch {
      return true;
    }
  });
  return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}`;
}
