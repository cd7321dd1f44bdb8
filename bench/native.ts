/** What the addon's calls cost beside Node's own and beside the usual programs: prints, asserts nothing. */
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

const addon = loadAddon();

/** The sample below which a share of all lie. */
function quantile(samples: number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
}

/** Medians, and the fastest tenth, which a busy machine disturbs less. */
function report(what: string, ours: number[], other: string, theirs: number[]): void {
  console.log(`${what} | ${other}`);
  for (const [name, share] of [
    ['median', 0.5],
    ['fastest tenth', 0.1],
  ] as const) {
    const [a, b] = [quantile(ours, share), quantile(theirs, share)];
    console.log(`  ${name}: ${a.toFixed(3)} ms | ${b.toFixed(3)} ms, ratio ${(a / b).toFixed(3)}`);
  }
}

function time(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

async function spawning(): Promise<void> {
  // Strings, so that the weight is in V8's heap as it is in an agent.
  const ballast = Array.from({ length: 450_000 }, (_, i) => `object ${i} `.padEnd(120, String(i)));
  const heap = process.memoryUsage().heapUsed / 2 ** 20;
  const spawner = new ProcessSpawner(addon);
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let i = 0; i < 200; i += 1) {
    let exited: Promise<unknown> = Promise.resolve();
    ours.push(
      time(() => {
        const child = spawner.spawn({
          file: '/bin/true',
          argv: ['true'],
          env: [],
          fds: [-1, -1, -1],
        });
        closeSync(child.pidfd);
        exited = child.exited;
      }),
    );
    await exited;
    theirs.push(
      time(() => {
        const child = nodeSpawn('/bin/true', { stdio: 'ignore', env: {} });
        exited = new Promise((resolve) => child.once('exit', resolve));
      }),
    );
    await exited;
  }
  spawner.close();
  console.log(`JavaScript heap ${heap.toFixed(0)} MB (${ballast.length} strings)`);
  report('spawn, time the event loop is blocked', ours, 'child_process.spawn', theirs);
}

function overlays(): void {
  const folder = mkdtempSync('/dev/shm/pvecri-bench-');
  const make = (name: string): string => {
    const path = join(folder, name);
    mkdirSync(path);
    return path;
  };
  const lower = Array.from({ length: 30 }, (_, i) => make(`layer${i}`));
  const [upper, work, point] = [make('upper'), make('work'), make('point')];
  for (const count of [1, 10, 30]) {
    const layers = lower.slice(0, count);
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let i = 0; i < 40; i += 1) {
      let fd = -1;
      ours.push(
        time(() => {
          fd = addon.mountOverlay({ lower: layers, upper, work });
        }),
      );
      closeSync(fd);
      const options = `userxattr,lowerdir=${layers.join(':')},upperdir=${upper},workdir=${work}`;
      theirs.push(
        time(() => execFileSync('mount', ['-t', 'overlay', '-o', options, 'overlay', point])),
      );
      addon.unmount(point);
    }
    report(`overlay of ${count} layers`, ours, 'mount(8)', theirs);
  }
  rmSync(folder, { recursive: true });
}

async function sweeping(): Promise<void> {
  const root = findCgroup2Mount(readFileSync('/proc/self/mountinfo', 'utf8'));
  if (root === undefined) return;
  const top = join(root, `pvecri-bench-${process.pid}`);
  mkdirSync(top);
  const folders = Array.from({ length: 200 }, (_, i) => join(top, `c${i}`));
  const sweeper = new addon.CgroupSweeper();
  folders.forEach((folder, token) => {
    mkdirSync(folder);
    sweeper.add(token, folder);
  });
  const ours: number[] = [];
  const blocked: number[] = [];
  const theirs: number[] = [];
  for (let i = 0; i < 50; i += 1) {
    const start = performance.now();
    const rows = sweeper.sweep();
    blocked.push(performance.now() - start);
    await rows;
    ours.push(performance.now() - start);
    theirs.push(
      time(() => {
        for (const folder of folders) readFileSync(join(folder, 'cpu.stat'), 'utf8');
      }),
    );
  }
  sweeper.close();
  for (const folder of folders) rmdirSync(folder);
  rmdirSync(top);
  report('sweep of 200 cgroups', ours, 'readFileSync of their cpu.stat alone', theirs);
  console.log(`  of which the event loop is blocked: ${quantile(blocked, 0.5).toFixed(3)} ms`);
}

async function pinning(): Promise<void> {
  const folder = mkdtempSync('/tmp/pvecri-bench-');
  const net = join(folder, 'net');
  const name = `pvecri-bench-${process.pid}`;
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let i = 0; i < 20; i += 1) {
    writeFileSync(net, '');
    const start = performance.now();
    await addon.pinNamespaces({ net });
    ours.push(performance.now() - start);
    addon.unmount(net);
    theirs.push(time(() => execFileSync('ip', ['netns', 'add', name])));
    execFileSync('ip', ['netns', 'delete', name]);
  }
  rmSync(folder, { recursive: true });
  report('pinned network namespace', ours, 'ip netns add', theirs);
}

// Waiting for an exit does not keep Node alive.
const alive = setInterval(() => undefined, 1000);
await spawning();
overlays();
await sweeping();
await pinning();
clearInterval(alive);
