/** Carries the project to the test node, with what the host built: nothing is compiled there. */
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';
import { outputOf, quoted, remoteCommand, type Address } from './remote.js';
import { run } from './steps.js';

/** The project's folder there. */
export const PROJECT = '/root/pvecri';
/** Programs that the tests there need besides what the agent depends on. */
const TEST_PACKAGES = ['mocha', 'fast-check'];
const FOLDERS = ['dist', 'test', 'scripts', 'examples', 'systemd', 'docs'];
const FILES = ['package.json', 'README.md'];

interface Lock {
  packages: Record<string, LockedPackage>;
}
interface LockedPackage {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

/** Changes when the packages from the npm registry do. */
export function packagesHash(): string {
  return createHash('sha256').update(readFileSync('package-lock.json')).digest('hex').slice(0, 12);
}

/** Sends the packages from the npm registry that run there. */
export function sendPackages(address: Address): void {
  const unneeded = ['--exclude=*.map', '--exclude=*.d.ts', '--exclude=*.md'];
  // Beside the project, where Node.js looks for them too. They may be links here.
  send(address, dirname(PROJECT), ['--dereference', ...unneeded, '--', ...neededPackages()]);
}

/** Sends the project as it is now; what was there before goes. */
export async function sendProject(address: Address): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'pvecri-tree-'));
  try {
    mkdirSync(join(folder, 'build/Release'), { recursive: true });
    for (const name of readdirSync('build/Release')) {
      if (/^pvecri(-[a-z]+|\.node)$/.test(name)) {
        cpSync(join('build/Release', name), join(folder, 'build/Release', name));
      }
    }
    for (const name of [...FOLDERS, ...FILES]) {
      if (existsSync(name)) cpSync(name, join(folder, name), { recursive: true });
    }
    // JavaScript beside its source: an emulated machine would take half a minute to load tsx, again
    // in each process.
    await build({
      entryPoints: ['src/**/*.ts', 'test/**/*.ts', 'scripts/**/*.ts'],
      outdir: folder,
      outbase: '.',
      format: 'esm',
      platform: 'node',
      target: 'node20.19',
      logLevel: 'warning',
    });
    outputOf(address, `rm -rf ${quoted(PROJECT)}`);
    send(address, PROJECT, ['--exclude=*.map', '--exclude=*.ts', '-C', folder, '.']);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Sends all that is in a folder. */
export function sendFolder(address: Address, folder: string, target: string): void {
  // Folders of the target stay as they are, links too.
  send(address, target, ['-C', folder, '.'], ['--keep-directory-symlink']);
}

/** Packs by tar, and unpacks into a folder there. */
function send(
  address: Address,
  target: string,
  tarArguments: string[],
  unpackArguments: string[] = [],
): void {
  const words = (list: string[]) => list.map(quoted).join(' ');
  const there = `mkdir -p ${quoted(target)} && zstd -dcq | tar -C ${quoted(target)} ${words(unpackArguments)} -xf -`;
  const pipe = [
    words(['tar', '--owner=root', '--group=root', '-cf', '-', ...tarArguments]),
    'zstd -3 -q -T0',
    words(['ssh', ...remoteCommand(address, there)]),
  ];
  run('bash', ['-o', 'pipefail', '-c', pipe.join(' | ')]);
}

/** Folders of the packages that the agent and its tests load, found as Node.js finds them. */
function neededPackages(): string[] {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as Lock;
  const found = new Set<string>();
  const add = (from: string, name: string) => {
    for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
      const path = join(at, 'node_modules', name);
      const entry = packages[path];
      if (entry && existsSync(path)) {
        if (found.has(path)) return;
        found.add(path);
        const needed = {
          ...entry.dependencies,
          ...entry.optionalDependencies,
          ...entry.peerDependencies,
        };
        for (const next of Object.keys(needed)) add(path, next);
        return;
      }
      if (at === '') return; // for another platform, or optional
    }
  };
  for (const name of Object.keys(packages['']?.dependencies ?? {})) add('', name);
  for (const name of TEST_PACKAGES) add('', name);
  return [...found];
}
