import assert from 'node:assert/strict';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { Cgroup2Tree } from '../../../src/cgroup/cgroup-tree.js';
import { loadAddon } from '../../../src/native/binding.js';
import { ProcessSpawner, runProcess } from '../../../src/native/process.js';
import { openDescriptors, settlesAt } from '../../support/descriptors.js';

const PATH = 'PATH=/usr/bin:/bin';

describe('spawn', () => {
  const addon = loadAddon();
  let spawner: ProcessSpawner;
  let descriptors: number;

  beforeEach(() => {
    descriptors = openDescriptors();
    spawner = new ProcessSpawner(addon);
  });

  afterEach(async () => {
    spawner.close();
    assert.ok(await settlesAt(openDescriptors, descriptors), 'a descriptor was left open');
  });

  const shell = (script: string, fds: number[] = []): Promise<string> =>
    runProcess(spawner, {
      file: '/bin/sh',
      argv: ['sh', '-c', script],
      env: [PATH],
      extraFds: fds,
    }).then((result) => result.stdout.toString());

  it('tells like node:fs why a program cannot run', async () => {
    const options = { argv: ['x'], env: [], fds: [-1, -1, -1] };
    await assert.rejects(addon.spawn({ ...options, file: '/no/such/file' }), {
      message: "ENOENT: no such file or directory, execve '/no/such/file'",
      code: 'ENOENT',
      errno: -2,
      syscall: 'execve',
      path: '/no/such/file',
    });
    await assert.rejects(addon.spawn({ ...options, file: '/etc/passwd' }), { code: 'EACCES' });
    await assert.rejects(addon.spawn({ ...options, file: '/bin/true', cwd: '/no/such' }), {
      code: 'ENOENT',
      syscall: 'chdir',
      path: '/no/such',
    });
    await assert.rejects(addon.spawn({ ...options, file: '/bin/true', fds: [-1, -1, 99_999] }), {
      code: 'EBADF',
    });
    await assert.rejects(addon.spawn({ ...options, file: '/bin/true', cgroupFd: 0 }), {
      code: 'EBADF',
      syscall: 'clone3',
    });
  });

  it('leaves no zombie behind when a program cannot run', async () => {
    const ours = (): string =>
      readdirSync('/proc/self/task')
        .map((thread) => readFileSync(`/proc/self/task/${thread}/children`, 'utf8'))
        .join('');
    const children = ours();
    await assert.rejects(addon.spawn({ file: '/no', argv: ['x'], env: [], fds: [-1, -1, -1] }));
    assert.equal(ours(), children);
  });

  it('gives the child exactly the descriptors listed', async () => {
    const zero = openSync('/dev/zero', 'r');
    try {
      const text = await shell('ls /proc/$$/fd; readlink /proc/$$/fd/[0-5]; true', [
        zero,
        -1,
        zero,
      ]);
      const lines = text.trim().split('\n');
      assert.deepEqual(lines.slice(0, 6), ['0', '1', '2', '3', '4', '5']);
      assert.match(lines[7]!, /^pipe:/);
      assert.match(lines[8]!, /^pipe:/);
      assert.notEqual(lines[7], lines[8]);
      assert.deepEqual(
        [lines[6], ...lines.slice(9)],
        ['/dev/null', '/dev/zero', '/dev/null', '/dev/zero'],
      );
    } finally {
      closeSync(zero);
    }
  });

  it('moves descriptors whose numbers cross', async () => {
    // Opened in this order they have rising numbers; the child gets them turned round, on numbers
    // that are those of the others.
    const files = ['/dev/zero', '/dev/full', '/dev/random', '/dev/urandom'];
    const fds = files.map((file) => openSync(file, 'r'));
    const highest = Math.max(...fds);
    const wanted = Array.from({ length: highest - 2 }, (_, i) => fds.at(-1 - (i % fds.length))!);
    try {
      const text = await shell(
        `cd /proc/$$/fd; for i in $(seq 3 ${highest}); do readlink $i; done`,
        wanted,
      );
      assert.deepEqual(
        text.trim().split('\n'),
        wanted.map((fd) => files[fds.indexOf(fd)]),
      );
    } finally {
      for (const fd of fds) closeSync(fd);
    }
  });

  it('starts with default dispositions, an empty mask and a session of its own', async () => {
    // Node ignores SIGPIPE; the handler of this one must not be seen either.
    const onWinch = (): void => undefined;
    process.on('SIGWINCH', onWinch);
    try {
      const text = await runProcess(spawner, {
        file: '/bin/cat',
        argv: ['cat', '/proc/self/status', '/proc/self/stat'],
        env: [],
      }).then((result) => result.stdout.toString());
      for (const field of ['SigBlk', 'SigIgn', 'SigCgt', 'SigPnd', 'ShdPnd']) {
        assert.match(text, new RegExp(`^${field}:\\t0+$`, 'm'));
      }
      const [pid, , , , group, session] = text.trim().split('\n').at(-1)!.split(' ');
      assert.deepEqual([group, session], [pid, pid]);
    } finally {
      process.off('SIGWINCH', onWinch);
    }
  });

  it('gives the environment and the folder, and inherits neither', async () => {
    const result = await runProcess(spawner, {
      file: '/usr/bin/env',
      argv: ['env', '--', 'sh', '-c', 'env -0; pwd'],
      env: [PATH, 'A=1\n2', 'B='],
      cwd: '/proc',
    });
    assert.deepEqual(
      result.stdout
        .toString()
        .split('\0')
        .filter((entry) => !/^(PWD|_|OLDPWD|SHLVL)=/.test(entry))
        .sort(),
      ['/proc\n', 'A=1\n2', 'B=', PATH],
    );
  });

  it('starts in a cgroup', async () => {
    const tree = new Cgroup2Tree({ addon });
    const name = `pvecri-test-spawn-${process.pid}`;
    const folder = join(tree.root, name);
    mkdirSync(folder);
    try {
      const cgroupFd = openSync(folder, 'r');
      const result = await runProcess(spawner, {
        file: '/bin/cat',
        argv: ['cat', '/proc/self/cgroup'],
        env: [],
        cgroupFd,
      });
      closeSync(cgroupFd);
      assert.match(result.stdout.toString(), new RegExp(`^0::.*/${name}$`, 'm'));
    } finally {
      tree.close();
      rmdirSync(folder);
    }
  });

  it('reports exit codes and signals', async () => {
    const status = async (script: string): Promise<unknown> => {
      const child = await spawner.spawn({
        file: '/bin/sh',
        argv: ['sh', '-c', script],
        env: [PATH],
        fds: [-1, -1, -1],
      });
      closeSync(child.pidfd);
      return child.exited;
    };
    assert.deepEqual(await status('exit 0'), { code: 0, signal: null });
    assert.deepEqual(await status('exit 255'), { code: 255, signal: null });
    assert.deepEqual(await status('kill -KILL $$'), { code: null, signal: 9 });
    assert.deepEqual(await status('kill -SEGV $$'), { code: null, signal: 11 });
  });

  it('runs 200 programs at once', async () => {
    const children = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        spawner.spawn({
          file: '/bin/sh',
          argv: ['sh', '-c', `exit ${i % 100}`],
          env: [],
          fds: [-1, -1, -1],
        }),
      ),
    );
    const ends = await Promise.all(children.map((child) => child.exited));
    for (const child of children) closeSync(child.pidfd);
    assert.deepEqual(
      ends.map((end) => end?.code),
      children.map((_, i) => i % 100),
    );
    assert.equal(new Set(children.map((child) => child.pid)).size, 200);
  });

  it("does not disturb node's own children", async () => {
    const { execFile } = await import('node:child_process');
    const own = Array.from(
      { length: 20 },
      (_, i) =>
        new Promise<number>((resolve) => {
          execFile('/bin/sh', ['-c', `exit ${i}`], (error) => {
            resolve(error === null ? 0 : Number(error.code));
          });
        }),
    );
    const ours = Array.from({ length: 20 }, (_, i) =>
      runProcess(spawner, { file: '/bin/sh', argv: ['sh', '-c', `exit ${i}`], env: [] }),
    );
    const expected = Array.from({ length: 20 }, (_, i) => i);
    assert.deepEqual(await Promise.all(own), expected);
    assert.deepEqual(
      (await Promise.all(ours)).map((result) => result.status.code),
      expected,
    );
  });
});
