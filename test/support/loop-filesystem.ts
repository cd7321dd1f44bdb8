/** File systems of a test's own, in a file on a tmpfs. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type FilesystemKind =
  'tmpfs' | 'ext4' | 'ext4 with quotas' | 'xfs' | 'xfs with quotas' | 'btrfs';

export interface TestFilesystem {
  /** Where it is mounted. */
  path: string;
  destroy: () => void;
}

const RECIPES: Readonly<
  Record<FilesystemKind, { mkfs: string[]; options: string; leastBytes: number }>
> = {
  tmpfs: { mkfs: [], options: '', leastBytes: 0 },
  ext4: { mkfs: ['mkfs.ext4', '-q', '-F'], options: 'loop', leastBytes: 0 },
  'ext4 with quotas': {
    mkfs: ['mkfs.ext4', '-q', '-F', '-O', 'quota,project'],
    options: 'loop,prjquota',
    leastBytes: 0,
  },
  xfs: { mkfs: ['mkfs.xfs', '-q', '-f'], options: 'loop', leastBytes: 300 << 20 },
  'xfs with quotas': {
    mkfs: ['mkfs.xfs', '-q', '-f'],
    options: 'loop,prjquota',
    leastBytes: 300 << 20,
  },
  btrfs: { mkfs: ['mkfs.btrfs', '-q', '-f'], options: 'loop', leastBytes: 256 << 20 },
};

/** The text is why this host cannot have it. */
export function makeFilesystem(kind: FilesystemKind, bytes: number): TestFilesystem | string {
  const { mkfs, options, leastBytes } = RECIPES[kind];
  const [program] = mkfs;
  if (
    program !== undefined &&
    !['/sbin', '/usr/sbin'].some((at) => existsSync(join(at, program)))
  ) {
    return `${program} is not installed`;
  }
  const folder = mkdtempSync('/dev/shm/pvecri-test-');
  const path = join(folder, 'mounted');
  mkdirSync(path);
  try {
    if (kind === 'tmpfs') run('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'pvecri-test', path]);
    else {
      const image = join(folder, 'image');
      writeFileSync(image, '');
      truncateSync(image, Math.max(bytes, leastBytes));
      run(mkfs[0] ?? '', [...mkfs.slice(1), image]);
      run('mount', ['-o', options, image, path]);
    }
  } catch (error) {
    rmSync(folder, { recursive: true });
    return `this host cannot mount ${kind}: ${String(error).split('\n')[1] ?? ''}`;
  }
  return {
    path,
    destroy: () => {
      run('umount', [path]);
      rmSync(folder, { recursive: true });
    },
  };
}

function run(file: string, options: string[]): void {
  execFileSync(file, options, { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' });
}
