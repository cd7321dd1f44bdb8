/** Unpacking one layer of /usr, beside GNU tar doing the same on a tmpfs: prints, asserts nothing. */
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
import { createUnpack } from '../src/images/unpack-process.js';
import { loadAddon } from '../src/native/binding.js';
import { ProcessSpawner } from '../src/native/process.js';

const RUNS = 5;
/** Many small files and some large ones, about 200 MB in 10,000 files on a Debian host. */
const SOURCE = process.argv[2] ?? '/usr/share';
const MOST_BYTES = 250e6;

const spawner = new ProcessSpawner(loadAddon());
const unpack = createUnpack(spawner);
const temp = mkdtempSync('/dev/shm/pvecri-bench-');
try {
  const tar = join(temp, 'layer.tar');
  const list = sample(SOURCE);
  execFileSync('tar', ['-C', '/', '--no-recursion', '-T', '-', '-cf', tar], { input: list });
  execFileSync('sh', ['-c', `gzip -k ${tar}; zstd -q -k ${tar}`]);
  const diffId = `sha256:${createHash('sha256').update(readFileSync(tar)).digest('hex')}`;
  const megabytes = (path: string): string => (statSync(path).size / 1e6).toFixed(0);
  console.log(
    `${list.split('\n').length} entries, ${megabytes(tar)} MB, to tmpfs, fastest of ${RUNS}`,
  );
  for (const [suffix, flag] of [
    ['', ''],
    ['.gz', '-z'],
    ['.zst', '--zstd'],
  ] as const) {
    const blob = `${tar}${suffix}`;
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let run = 0; run < RUNS; run += 1) {
      ours.push(await time((target) => ourUnpack(blob, diffId, target)));
      const flags = [
        '-C',
        'TARGET',
        '--numeric-owner',
        '-xf',
        blob,
        ...(flag === '' ? [] : [flag]),
      ];
      theirs.push(
        await time((target) => {
          execFileSync(
            'tar',
            flags.map((word) => (word === 'TARGET' ? target : word)),
          );
        }),
      );
    }
    const [a, b] = [Math.min(...ours), Math.min(...theirs)];
    console.log(
      `tar${suffix} (${megabytes(blob)} MB): ${a.toFixed(0)} ms, digest checked | tar -x ${b.toFixed(0)} ms, ratio ${(a / b).toFixed(2)}`,
    );
  }
} finally {
  rmSync(temp, { recursive: true });
  spawner.close();
}

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

async function time(work: (target: string) => unknown): Promise<number> {
  const target = join(temp, 'target');
  mkdirSync(target);
  const start = performance.now();
  await work(target);
  const elapsed = performance.now() - start;
  rmSync(target, { recursive: true });
  return elapsed;
}

async function ourUnpack(blob: string, diffId: string, target: string): Promise<void> {
  const blobFd = openSync(blob, 'r');
  const targetFd = openSync(target, 'r');
  try {
    await unpack({
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
