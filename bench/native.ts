/** What the addon's calls cost beside Node's own and beside the usual programs. */
import { execFileSync, spawn as nodeSpawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { findCgroup2Mount } from '../src/cgroup/cgroup2-mount.js';
import { loadAddon } from '../src/native/binding.js';
import { ProcessSpawner } from '../src/native/process.js';
import { makeUserNamespace } from '../test/support/user-namespace.js';
import { figureOf, timed, type BenchContext, type Figure, type Part } from './figure.js';

const addon = loadAddon();
/** These take microseconds: many are cheap. */
const RUNS_PER_ROUND = 3;

export const native: Part = {
  names: ['spawn', 'overlay-mount', 'overlay-idmapped', 'cgroup-sweep', 'pinned-network'],
  about:
    'spawn of a program until it runs (peer: child_process, which blocks the event loop so long); overlay of 10 layers (mount(8)); the same for a user namespace (ours without one); all figures of 200 cgroups (readFileSync of their cpu.stat alone); network namespace bound to a file (unshare(1))',
  async measure(context) {
    return [
      await spawning(context),
      ...(await overlay(context)),
      ...(await sweeping(context)),
      await pinning(context),
    ];
  },
};

async function repeat(
  { rounds, signal }: BenchContext,
  work: (round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < rounds * RUNS_PER_ROUND; round += 1) {
    signal.throwIfAborted();
    await work(round);
  }
}

async function spawning(context: BenchContext): Promise<Figure> {
  // Strings, so that the weight is in V8's heap as it is in an agent.
  const ballast = Array.from({ length: 450_000 }, (_, i) => `object ${i} `.padEnd(120, String(i)));
  const spawner = new ProcessSpawner(addon);
  const ours: number[] = [];
  const theirs: number[] = [];
  await repeat(context, async () => {
    let exited: Promise<unknown> = Promise.resolve();
    await timed(ours, async () => {
      const file = '/bin/true';
      const child = await spawner.spawn({ file, argv: ['true'], env: [], fds: [-1, -1, -1] });
      closeSync(child.pidfd);
      exited = child.exited;
    });
    await exited;
    await timed(theirs, () => {
      const child = nodeSpawn('/bin/true', { stdio: 'ignore', env: {} });
      exited = new Promise((resolve) => child.once('exit', resolve));
    });
    await exited;
  });
  spawner.close();
  if (ballast.length === 0) throw new Error('the heap has lost its weight');
  return figureOf('spawn', 'ms', [ours, theirs]);
}

async function overlay(context: BenchContext): Promise<Figure[]> {
  const folder = mkdtempSync('/dev/shm/pvecri-bench-');
  const namespace = await makeUserNamespace(100_000);
  try {
    const make = (name: string): string => {
      const path = join(folder, name);
      mkdirSync(path);
      return path;
    };
    const lower = Array.from({ length: 10 }, (_, i) => make(`layer${i}`));
    const [upper, work, point] = [make('upper'), make('work'), make('point')];
    const options = `userxattr,lowerdir=${lower.join(':')},upperdir=${upper},workdir=${work}`;
    const ours: number[] = [];
    const theirs: number[] = [];
    const idmapped: number[] = [];
    await repeat(context, async () => {
      let fd = -1;
      await timed(ours, async () => {
        fd = await addon.mountOverlay({ lower, upper, work });
      });
      closeSync(fd);
      await timed(idmapped, async () => {
        fd = await addon.mountOverlay({ lower, upper, work, userNamespace: namespace.fd });
      });
      closeSync(fd);
      await timed(theirs, () =>
        execFileSync('mount', ['-t', 'overlay', '-o', options, 'overlay', point]),
      );
      addon.unmount(point);
    });
    return [
      figureOf('overlay-mount', 'ms', [ours, theirs]),
      figureOf('overlay-idmapped', 'ms', [idmapped, ours]),
    ];
  } finally {
    namespace.close();
    rmSync(folder, { recursive: true });
  }
}

async function sweeping(context: BenchContext): Promise<Figure[]> {
  const root = findCgroup2Mount(readFileSync('/proc/self/mountinfo', 'utf8'));
  if (root === undefined) return [];
  const top = join(root, `pvecri-bench-${process.pid}`);
  const folders = Array.from({ length: 200 }, (_, i) => join(top, `c${i}`));
  const sweeper = new addon.CgroupSweeper();
  try {
    mkdirSync(top);
    for (const [token, folder] of folders.entries()) {
      mkdirSync(folder);
      sweeper.add(token, folder, false);
    }
    const tokens = Float64Array.from(folders.keys());
    const ours: number[] = [];
    const theirs: number[] = [];
    await repeat(context, async () => {
      await timed(ours, () => sweeper.sweep(tokens));
      await timed(theirs, () => {
        for (const folder of folders) readFileSync(join(folder, 'cpu.stat'), 'utf8');
      });
    });
    return [figureOf('cgroup-sweep', 'ms', [ours, theirs])];
  } finally {
    sweeper.close();
    for (const folder of folders) rmdirSync(folder);
    rmdirSync(top);
  }
}

async function pinning(context: BenchContext): Promise<Figure> {
  const folder = mkdtempSync('/tmp/pvecri-bench-');
  const net = join(folder, 'net');
  try {
    const ours: number[] = [];
    const theirs: number[] = [];
    writeFileSync(net, '');
    await repeat(context, async () => {
      await timed(ours, () => addon.pinNamespaces({ net }));
      addon.unmount(net);
      await timed(theirs, () => execFileSync('unshare', [`--net=${net}`, 'true']));
      addon.unmount(net);
    });
    return figureOf('pinned-network', 'ms', [ours, theirs]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
