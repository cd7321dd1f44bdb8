/** Unpacking one layer of /usr/share, beside GNU tar doing the same on a tmpfs. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { createUnpack } from '../src/images/unpack/unpack-process.js';
import { loadAddon } from '../src/native/binding.js';
import { ProcessSpawner } from '../src/native/process.js';
import { figureOf, timed, type Figure, type Part } from './figure.js';

/** Many small files and some large ones, about 200 MB in 10,000 files on a Debian host. */
const SOURCE = '/usr/share';
const MOST_BYTES = 250e6;
/** Each takes a second or two on both sides. */
const MOST_ROUNDS = 5;

const KINDS = [
  { name: 'unpack-tar', suffix: '', flags: [] },
  { name: 'unpack-gzip', suffix: '.gz', flags: ['-z'] },
  { name: 'unpack-zstd', suffix: '.zst', flags: ['--zstd'] },
];

export const unpacking: Part = {
  names: KINDS.map(({ name }) => name),
  about:
    "one image layer of this host's /usr/share to a tmpfs, digest checked (peer: tar -x, which checks none)",
  async measure({ rounds, signal, say }) {
    const spawner = new ProcessSpawner(loadAddon());
    const temp = mkdtempSync('/dev/shm/pvecri-bench-');
    const bench = { unpack: createUnpack(spawner), target: join(temp, 'target') };
    try {
      const tar = join(temp, 'layer.tar');
      const input = sample(SOURCE);
      execFileSync('tar', ['-C', '/', '--no-recursion', '-T', '-', '-cf', tar], { input });
      execFileSync('sh', ['-c', `gzip -k ${tar}; zstd -q -k ${tar}`]);
      const diffId = `sha256:${createHash('sha256').update(readFileSync(tar)).digest('hex')}`;
      say(`${input.split('\n').length} entries, ${(statSync(tar).size / 1e6).toFixed(0)} MB`);
      const figures: Figure[] = [];
      for (const { name, suffix, flags } of KINDS) {
        const blob = `${tar}${suffix}`;
        const ours: number[] = [];
        const theirs: number[] = [];
        for (let round = 0; round < Math.min(rounds, MOST_ROUNDS); round += 1) {
          signal.throwIfAborted();
          mkdirSync(bench.target);
          await timed(ours, () => ourUnpack(bench, blob, diffId));
          rmSync(bench.target, { recursive: true });
          mkdirSync(bench.target);
          await timed(theirs, () =>
            execFileSync('tar', ['-C', bench.target, '--numeric-owner', '-xf', blob, ...flags]),
          );
          rmSync(bench.target, { recursive: true });
        }
        figures.push(figureOf(name, 'ms', [ours, theirs]));
      }
      return figures;
    } finally {
      rmSync(temp, { recursive: true });
      spawner.close();
    }
  },
};

/** Folders come before what is in them. */
function sample(source: string): string {
  const names = execFileSync('find', [source.slice(1), '-printf', '%s %p\n'], {
    cwd: '/',
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  let bytes = 0;
  const chosen: string[] = [];
  for (const line of names.trimEnd().split('\n')) {
    const space = line.indexOf(' ');
    bytes += Number(line.slice(0, space));
    if (bytes > MOST_BYTES) break;
    chosen.push(line.slice(space + 1));
  }
  return chosen.join('\n');
}

interface Bench {
  unpack: ReturnType<typeof createUnpack>;
  target: string;
}

async function ourUnpack({ unpack, target }: Bench, blob: string, diffId: string): Promise<void> {
  const blobFd = openSync(blob, 'r');
  const targetFd = openSync(target, 'r');
  try {
    await unpack({
      mode: 'overlay',
      diffId,
      blobFd,
      offset: 0,
      length: statSync(blob).size,
      digest: '',
      targetFd,
      signal: new AbortController().signal,
      onBytes: () => undefined,
    });
  } finally {
    closeSync(blobFd);
    closeSync(targetFd);
  }
}
