/** What liblxc, the kernel and a dead process would do to a container if nobody minded. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RuntimeError } from '../../../src/core/errors.js';
import type { ContainerSpec } from '../../../src/core/model.js';
import { LIBEXEC, LxcFixture } from '../../support/lxc-fixture.js';
import { isAlive, processesWith, shimPid, until } from '../../support/processes.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

const NAME = 'char name[16] = ""; prctl(PR_GET_NAME, name);';
const HEADERS = ['dlfcn', 'errno', 'string', 'sys/epoll', 'sys/prctl', 'sys/socket', 'unistd']
  .map((header) => `#include <${header}.h>\n`)
  .join('');

/** Fails liblxc's main loop in the monitor, and only there, once the file exists. */
const BROKEN_LOOP = `
int epoll_wait(int set, struct epoll_event* events, int room, int timeout) {
  int (*real)(int, struct epoll_event*, int, int) = dlsym(RTLD_NEXT, "epoll_wait");
  ${NAME}
  if (strcmp(name, "pvecri-monitor") != 0) return real(set, events, room, timeout);
  for (;;) {
    int count = real(set, events, room, 20);
    if (count != 0) return count;
    if (access(BREAK, F_OK) == 0) return errno = EINVAL, -1;
  }
}
`;

/** Stops the monitor where liblxc's child waits for its first message and has no death signal yet. */
const SILENT_MONITOR = `
ssize_t sendmsg(int socket, const struct msghdr* message, int flags) {
  ssize_t (*real)(int, const struct msghdr*, int) = dlsym(RTLD_NEXT, "sendmsg");
  ${NAME}
  while (strcmp(name, "pvecri-monitor") == 0) pause();
  return real(socket, message, flags);
}
`;

/** The test node has no compiler. */
const itCompiles = spawnSync('gcc', ['--version']).error ? it.skip : it;

/** A fixture whose shims run with these functions in place of libc's; BREAK is `breakFile`. */
function fixtureWith(functions: string): {
  fixture: LxcFixture;
  breakFile: string;
  remove: () => void;
} {
  const folder = makeTempFolder();
  const [source, library] = [join(folder, 'fault.c'), join(folder, 'fault.so')];
  const breakFile = join(folder, 'break');
  writeFileSync(source, `#define _GNU_SOURCE\n${HEADERS}${functions}`);
  execFileSync('gcc', ['-shared', '-fPIC', `-DBREAK="${breakFile}"`, '-o', library, source]);
  copyFileSync(join(LIBEXEC, 'pvecri-init'), join(folder, 'pvecri-init'));
  const shim = `#!/bin/sh\nLD_PRELOAD=${library} exec ${LIBEXEC}/pvecri-shim "$@"\n`;
  writeFileSync(join(folder, 'pvecri-shim'), shim, { mode: 0o755 });
  const remove = (): void => {
    removeTempFolder(folder);
  };
  return { fixture: new LxcFixture(folder), breakFile, remove };
}

const parentOf = (pid: number): number =>
  Number(/PPid:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

describe('a container in spite of its surroundings', () => {
  let fixture: LxcFixture;
  before(() => {
    fixture = new LxcFixture();
  });
  after(async () => {
    await fixture.close();
  });

  it('leaves no lock file, mount point or mount of liblxc on the host', async () => {
    const spec = fixture.spec('exec sleep 100');
    await fixture.run(spec);
    const below = existsSync('/run/lxc')
      ? execFileSync('find', ['/run/lxc'], { encoding: 'utf8' })
      : '';
    assert.ok(!below.includes(spec.id), below);
    assert.ok(!existsSync('/run/lxc/rootfs'));
    assert.doesNotMatch(readFileSync('/proc/self/mountinfo', 'utf8'), /\/run\/lxc/);
  });

  it('has nothing in its root that the image did not bring', async () => {
    const layers = join(fixture.folder, 'layers');
    mkdirSync(layers, { recursive: true });
    const before = new Set(readdirSync(layers));
    assert.doesNotMatch(await fixture.output('ls -A / /bin /etc'), /lxc|pvecri/);
    const [layer = ''] = readdirSync(layers).filter((name) => !before.has(name));
    // What was written: nothing. liblxc pins the root by a file it removes at once.
    assert.deepEqual(readdirSync(join(layers, layer, 'upper')), []);
  });

  it('has no word of liblxc in its log', async () => {
    const spec = fixture.spec('', {
      namespaces: { network: '/nope', ipc: 'new', uts: 'new', pid: 'new' },
    });
    await assert.rejects(fixture.create(spec), /liblxc could not build it/);
    assert.match(readFileSync(join(spec.runDirectory, 'shim.log'), 'utf8'), /ERROR/);
    assert.deepEqual(fixture.log(spec), []);
  });

  it('has a shim and a monitor that the kernel kills last, and is no such process itself', async () => {
    const spec = fixture.spec('exec sleep 100', { process: { oomScoreAdj: 77 } });
    const { pid } = await fixture.run(spec);
    const score = (of: number): string => readFileSync(`/proc/${of}/oom_score_adj`, 'utf8').trim();
    // What this host lets root have: without CAP_SYS_RESOURCE nobody can lower it.
    const script = 'echo -999 > /proc/self/oom_score_adj; cat /proc/self/oom_score_adj';
    const low = execFileSync('sh', ['-c', script], { encoding: 'utf8', stdio: 'pipe' }).trim();
    assert.deepEqual([shimPid(spec), parentOf(pid), pid].map(score), [low, low, '77']);
    const result = await fixture.exec(spec, ['/bin/cat', '/proc/self/oom_score_adj']);
    assert.equal(Buffer.from(result.stdout).toString(), '77\n');
  });

  it('stands in its leaf cgroup, whichever namespaces it joins', async () => {
    for (const network of ['new', 'host']) {
      const namespaces = { network, ipc: 'new', uts: 'new', pid: 'new' };
      const spec = fixture.spec('exec sleep 100', { namespaces });
      const { pid } = await fixture.run(spec);
      const cgroup = (of: number): string | undefined =>
        /^0::(.*)$/m.exec(readFileSync(`/proc/${of}/cgroup`, 'utf8'))?.[1];
      assert.equal(cgroup(pid), `${spec.cgroup.outer}/lxc`);
      assert.equal(cgroup(parentOf(pid)), spec.cgroup.monitor);
      assert.equal(cgroup(shimPid(spec)), spec.cgroup.shim);
    }
  });

  it('does not run without the AppArmor profile that was asked for', async () => {
    const spec = fixture.spec('echo ran', { process: { apparmorProfile: 'pvecri-test-nope' } });
    await fixture.create(spec);
    await assert.rejects(
      fixture.engine.start(spec.id, spec.runDirectory),
      /cannot use AppArmor profile "pvecri-test-nope"/,
    );
    await fixture.wait(spec);
    assert.deepEqual(fixture.log(spec), []);
  });

  it('is not created in a PID namespace whose init has ended', async () => {
    const target = fixture.spec('exec sleep 100');
    const { pid } = await fixture.run(target);
    const pin = join(fixture.folder, 'pid-pin');
    writeFileSync(pin, '');
    execFileSync('mount', ['--bind', `/proc/${pid}/ns/pid`, pin]);
    try {
      await fixture.engine.signal(target.id, target.runDirectory, 9);
      await fixture.wait(target);
      const spec = fixture.spec('', {
        namespaces: { network: 'new', ipc: 'new', uts: 'new', pid: pin },
      });
      await assert.rejects(fixture.create(spec), /liblxc could not build it/);
      assert.deepEqual(fixture.leftCgroups(spec), []);
    } finally {
      execFileSync('umount', [pin]);
    }
  });

  for (const [signal, code] of [
    ['SEGV', 139],
    ['ABRT', 134],
    ['TERM', 143],
    ['INT', 130],
  ] as const)
    it(`that dies by SIG${signal} is recorded with ${code}, core dump or not`, async () => {
      // Not an init of a namespace, which its own signals would not reach.
      const spec = fixture.spec(`cd /tmp; ulimit -c unlimited; kill -${signal} $$`, {
        namespaces: { network: 'new', ipc: 'new', uts: 'new', pid: 'host' },
      });
      await fixture.run(spec);
      const exit = await fixture.wait(spec);
      assert.deepEqual([exit.exitCode, exit.signal], [code, code - 128]);
    });

  for (const code of [0, 1, 126, 127, 128, 255])
    it(`that ends with ${code} is recorded so`, async () => {
      const spec = fixture.spec(`exit ${code}`);
      await fixture.run(spec);
      const exit = await fixture.wait(spec);
      assert.deepEqual([exit.exitCode, exit.signal], [code, 0]);
    });

  itCompiles('is never recorded as a success when liblxc fails while it runs', async () => {
    const { fixture: other, breakFile, remove } = fixtureWith(BROKEN_LOOP);
    try {
      const spec = other.spec('exec sleep 100');
      const { pid } = await other.run(spec);
      writeFileSync(breakFile, '');
      const exit = await other.wait(spec);
      assert.deepEqual([exit.exitCode, exit.signal], [137, 9]);
      assert.match(exit.message, /liblxc failed/);
      assert.equal(isAlive(pid), false);
      assert.deepEqual(other.leftCgroups(spec), []);
    } finally {
      await other.close();
      remove();
    }
  });

  itCompiles('leaves no child of liblxc that waits for a monitor which was killed', async () => {
    const { fixture: other, remove } = fixtureWith(SILENT_MONITOR);
    try {
      for (const network of ['new', 'host'])
        for (const victim of ['shim', 'monitor']) {
          const namespaces = { network, ipc: 'new', uts: 'new', pid: 'new' };
          const spec = other.spec('', { namespaces });
          const refused = assert.rejects(other.create(spec));
          const all = (): number[] => processesWith(`pvecri-shim\0${spec.id}\0`);
          await until(() => all().length === 3);
          const shim = shimPid(spec);
          const monitor = all().find((pid) => parentOf(pid) === shim);
          process.kill(victim === 'shim' ? shim : (monitor ?? 0), 'SIGKILL');
          await refused;
          await until(() => all().length === 0);
          assert.deepEqual(other.leftCgroups(spec), [], `${network} ${victim}`);
        }
    } finally {
      await other.close();
      remove();
    }
  });

  it('is told its memory limit in its own cgroup, and ends as a whole when it passes that', async function () {
    // On a hybrid host the controller belongs to version 1.
    const spec = fixture.spec(
      'cat /sys/fs/cgroup/memory.max; tail /dev/zero; echo went on; exec sleep 100',
    );
    await fixture.create(spec);
    const limit = join(fixture.cgroupFolder(spec), 'memory.max');
    if (!existsSync(limit)) this.skip();
    writeFileSync(limit, String(16 << 20));
    const swap = join(fixture.cgroupFolder(spec), 'memory.swap.max');
    if (existsSync(swap)) writeFileSync(swap, '0');
    writeFileSync(join(fixture.cgroupFolder(spec), 'memory.oom.group'), '1');
    await fixture.engine.start(spec.id, spec.runDirectory);
    const exit = await fixture.wait(spec);
    assert.deepEqual([exit.exitCode, exit.oomKilled], [137, true]);
    assert.deepEqual(fixture.log(spec), [['stdout', 'F', String(16 << 20)]]);
  });

  it('gives away no pid that could be another process', async () => {
    const spec = fixture.spec('exec sleep 100');
    const { pid } = await fixture.run(spec);
    const monitor = parentOf(pid);
    // The payload ends, and the one who would notice does not get to it.
    process.kill(monitor, 'SIGSTOP');
    try {
      process.kill(pid, 'SIGKILL');
      await until(async () => {
        const now = await fixture.engine.inspect(spec.id, spec.directory, spec.runDirectory);
        return now.state === 'running' && now.pid === 0;
      });
      await assert.rejects(fixture.exec(spec, ['/bin/true']), /is not running/);
    } finally {
      process.kill(monitor, 'SIGCONT');
    }
    assert.equal((await fixture.wait(spec)).exitCode, 137);
  });

  describe('whose payload has no death signal any more', () => {
    // A change of user clears it: gosu, su-exec and setpriv do so at the start of many an image.
    const start = async (): Promise<{ spec: ContainerSpec; pid: number; monitor: number }> => {
      const spec = fixture.spec('exec su -s /bin/sh user -c "echo up; exec sleep 1000"');
      const { pid } = await fixture.run(spec);
      await until(() => fixture.log(spec).length === 1);
      return { spec, pid, monitor: parentOf(pid) };
    };

    it('ends with its monitor all the same', async () => {
      const { spec, pid, monitor } = await start();
      process.kill(monitor, 'SIGKILL');
      assert.equal((await fixture.wait(spec)).exitCode, 137);
      assert.equal(isAlive(pid), false);
    });

    it('outlives its shim, is lost, and can be ended by its cgroup', async () => {
      const { spec, pid, monitor } = await start();
      process.kill(shimPid(spec), 'SIGKILL');
      await until(() => !isAlive(monitor));
      await assert.rejects(fixture.wait(spec), (error) => {
        return error instanceof RuntimeError && error.kind === 'data-loss';
      });
      await sleep(100);
      assert.ok(isAlive(pid), 'it would have proved nothing');
      writeFileSync(join(fixture.cgroupFolder(spec), 'cgroup.kill'), '1');
      await until(() => !isAlive(pid));
    });
  });

  it('leaves nothing when its shim is killed at any point of its creation', async () => {
    for (const pause of [0, 1, 2, 4, 8, 12, 16, 20]) {
      const spec = fixture.spec('exec sleep 4392');
      const created = fixture.create(spec).then(
        () => true,
        () => false,
      );
      await until(() => processesWith(`pvecri-shim\0${spec.id}\0`).length > 0);
      await sleep(pause);
      const pids = processesWith(`pvecri-shim\0${spec.id}\0`);
      process.kill(Math.min(...pids), 'SIGKILL');
      const was = await created;
      await until(() => processesWith(`pvecri-shim\0${spec.id}\0`).length === 0);
      // One that stood already is lost, and its cgroups are for the removal.
      if (!was) assert.deepEqual(fixture.leftCgroups(spec), []);
      const state = await fixture.engine.inspect(spec.id, spec.directory, spec.runDirectory);
      assert.equal(state.state, 'lost');
    }
    assert.deepEqual(processesWith('sleep\x004392'), []);
  });
});
