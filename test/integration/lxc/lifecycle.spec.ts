/** Create, start, exit and recovery of containers with the real liblxc. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RuntimeError, type ErrorKind } from '../../../src/core/errors.js';
import { LxcFixture, type Overrides } from '../../support/lxc-fixture.js';
import { shimPid, isAlive, until } from '../../support/processes.js';

function fails(kind: ErrorKind, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, message);
    return true;
  };
}

describe('life of a container', () => {
  let fixture: LxcFixture;
  before(() => {
    fixture = new LxcFixture();
  });
  after(async () => {
    await fixture.close();
  });

  it('runs a command and records its exit code and times', async () => {
    const before = BigInt(Date.now()) * 1_000_000n;
    const spec = fixture.spec('exit 7');
    await fixture.run(spec);
    const exit = await fixture.wait(spec);
    assert.equal(exit.exitCode, 7);
    assert.equal(exit.signal, 0);
    assert.equal(exit.oomKilled, false);
    assert.equal(exit.message, '');
    assert.ok(before <= exit.startedAt && exit.startedAt <= exit.finishedAt);
    assert.deepEqual(fixture.leftCgroups(spec), []);
    assert.equal(existsSync(join(spec.runDirectory, 'shim.sock')), false);
    assert.equal(
      readFileSync(join(spec.directory, 'started'), 'utf8'),
      `${exit.startedAt.toString()}\n`,
    );
  });

  it('goes through created, running and exited', async () => {
    const { engine } = fixture;
    const spec = fixture.spec('exec sleep 100');
    await fixture.create(spec);
    const created = await engine.inspect(spec.id, spec.directory, spec.runDirectory);
    assert.equal(created.state, 'created');
    const { pid, startedAt } = await engine.start(spec.id, spec.runDirectory);
    assert.deepEqual(await engine.inspect(spec.id, spec.directory, spec.runDirectory), {
      state: 'running',
      pid,
      startedAt,
    });
    await until(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8') === 'sleep\x00100\x00');
    await assert.rejects(
      engine.start(spec.id, spec.runDirectory),
      fails('failed-precondition', /not in state created/),
    );
    await engine.signal(spec.id, spec.runDirectory, 9);
    const exit = await fixture.wait(spec);
    assert.equal(exit.exitCode, 137);
    assert.equal(exit.signal, 9);
    assert.deepEqual(await engine.inspect(spec.id, spec.directory, spec.runDirectory), {
      state: 'exited',
      exit,
    });
    await engine.signal(spec.id, spec.runDirectory, 15);
    assert.deepEqual(await fixture.wait(spec), exit);
  });

  it('delivers a signal that the payload handles', async () => {
    const spec = fixture.spec(
      'trap "echo got; exit 3" TERM; echo up; while :; do sleep 0.05; done',
    );
    await fixture.run(spec);
    await until(() => fixture.log(spec).length > 0);
    await fixture.engine.signal(spec.id, spec.runDirectory, 15);
    assert.equal((await fixture.wait(spec)).exitCode, 3);
    assert.deepEqual(fixture.log(spec), [
      ['stdout', 'F', 'up'],
      ['stdout', 'F', 'got'],
    ]);
  });

  it('keeps TERM of the shim for the container', async () => {
    const spec = fixture.spec('trap "exit 4" TERM; echo up; while :; do sleep 0.05; done');
    await fixture.run(spec);
    await until(() => fixture.log(spec).length > 0);
    process.kill(shimPid(spec), 'SIGHUP');
    process.kill(shimPid(spec), 'SIGTERM');
    assert.equal((await fixture.wait(spec)).exitCode, 4);
  });

  it('never runs a container that is ended before its start', async () => {
    const spec = fixture.spec('echo ran');
    await fixture.create(spec);
    await fixture.engine.signal(spec.id, spec.runDirectory, 15);
    const exit = await fixture.wait(spec);
    assert.deepEqual(
      [exit.exitCode, exit.signal, exit.startedAt, exit.message],
      [137, 9, 0n, 'ended before it was started'],
    );
    assert.deepEqual(fixture.log(spec), []);
    assert.deepEqual(fixture.leftCgroups(spec), []);
  });

  it('lets the held init go, never run, when the shim is killed before the start', async () => {
    const spec = fixture.spec('echo ran');
    await fixture.create(spec);
    const state = await fixture.engine.inspect(spec.id, spec.directory, spec.runDirectory);
    assert.ok(state.state === 'created');
    process.kill(shimPid(spec), 'SIGKILL');
    await until(() => !isAlive(state.pid));
    assert.deepEqual(fixture.log(spec), []);
    assert.equal(existsSync(join(spec.directory, 'exit')), false);
  });

  for (const uid of [0, 1000])
    it(`takes a payload of uid ${uid} along when the shim is killed, and is lost`, async () => {
      const spec = fixture.spec('exec sleep 100', { process: { uid, gid: uid } });
      const { pid } = await fixture.run(spec);
      process.kill(shimPid(spec), 'SIGKILL');
      await until(() => !isAlive(pid));
      const waiting = fixture.wait(spec);
      await assert.rejects(waiting, fails('data-loss', /is lost/));
      const state = await fixture.engine.inspect(spec.id, spec.directory, spec.runDirectory);
      assert.ok(state.state === 'lost' && state.startedAt > 0n);
    });

  it('records the end when the monitor alone is killed', async () => {
    const spec = fixture.spec('exec sleep 100');
    const { pid } = await fixture.run(spec);
    const monitor = Number(/PPid:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    process.kill(monitor, 'SIGKILL');
    const exit = await fixture.wait(spec);
    assert.equal(exit.exitCode, 137);
    assert.match(exit.message, /monitor was killed/);
    assert.equal(isAlive(pid), false);
    assert.deepEqual(fixture.leftCgroups(spec), []);
  });

  it('goes on without the agent, and a later one learns the end', async () => {
    const spec = fixture.spec('sleep 0.3; exit 5');
    await fixture.run(spec);
    const later = fixture.newEngine();
    const state = await later.inspect(spec.id, spec.directory, spec.runDirectory);
    assert.equal(state.state, 'running');
    const exit = await later.waitForExit(spec.id, spec.directory, spec.runDirectory);
    assert.equal(exit.exitCode, 5);
    await later.close();
  });

  it('does not let SIGHUP restart a payload of the host PID namespace', async () => {
    const spec = fixture.spec('echo run; exec sleep 100', {
      namespaces: { network: 'new', ipc: 'new', uts: 'new', pid: 'host' },
    });
    const { pid } = await fixture.run(spec);
    await until(() => fixture.log(spec).length > 0);
    process.kill(pid, 'SIGHUP');
    const exit = await fixture.wait(spec);
    assert.equal(exit.exitCode, 129);
    assert.equal(exit.signal, 1);
    assert.deepEqual(fixture.log(spec), [['stdout', 'F', 'run']]);
    assert.deepEqual(fixture.leftCgroups(spec), []);
  });

  it('ends what a payload of the host PID namespace leaves behind', async () => {
    const spec = fixture.spec('sleep 100 & echo $!', {
      namespaces: { network: 'host', ipc: 'host', uts: 'host', pid: 'host' },
    });
    await fixture.run(spec);
    await fixture.wait(spec);
    const child = Number(fixture.log(spec)[0]?.[2]);
    assert.ok(child > 0);
    assert.equal(isAlive(child), false);
  });

  it('creates in any number at once', async () => {
    const specs = [1, 2, 3, 4, 5, 6].map((code) => fixture.spec(`exit ${code}`));
    await Promise.all(specs.map((spec) => fixture.run(spec)));
    const exits = await Promise.all(specs.map((spec) => fixture.wait(spec)));
    assert.deepEqual(
      exits.map((exit) => exit.exitCode),
      [1, 2, 3, 4, 5, 6],
    );
  });

  describe('that cannot run', () => {
    const startFails = async (overrides: Overrides, message: RegExp): Promise<void> => {
      const spec = fixture.spec('', overrides);
      await fixture.create(spec);
      await assert.rejects(
        fixture.engine.start(spec.id, spec.runDirectory),
        fails('invalid-argument', message),
      );
      const exit = await fixture.wait(spec);
      assert.equal(exit.exitCode, 128);
      assert.equal(exit.startedAt, 0n);
      assert.notEqual(exit.message, '');
      assert.deepEqual(fixture.leftCgroups(spec), []);
    };

    it('for a missing binary', () =>
      startFails({ process: { argv: ['/nope'] } }, /cannot run "\/nope": .*\(ENOENT\)/));
    it('for a name that PATH does not lead to', () =>
      startFails({ process: { argv: ['nope'] } }, /cannot run "nope": .*\(ENOENT\)/));
    it('for a file that is no program', () =>
      startFails({ process: { argv: ['/etc/passwd'] } }, /\(EACCES\)/));
    it('for a path through a file', () =>
      startFails({ process: { argv: ['/etc/passwd/x'] } }, /\(ENOTDIR\)/));
    it('for a working directory that is a file', () =>
      startFails({ process: { cwd: '/etc/passwd' } }, /cannot enter working directory/));
    it('for a working directory behind a descriptor of the host', () =>
      startFails({ process: { cwd: '/proc/self/fd/11' } }, /cannot enter working directory/));
  });

  describe('that cannot be created', () => {
    const createFails = async (
      kind: ErrorKind,
      message: RegExp,
      overrides: Overrides,
    ): Promise<void> => {
      const spec = fixture.spec('', overrides);
      await assert.rejects(fixture.create(spec), fails(kind, message));
      assert.deepEqual(fixture.leftCgroups(spec), []);
      assert.equal(existsSync(join(spec.runDirectory, 'shim.sock')), false);
      assert.equal(existsSync(join(spec.directory, 'exit')), false);
      const state = await fixture.engine.inspect(spec.id, spec.directory, spec.runDirectory);
      assert.equal(state.state, 'lost');
    };
    const mount = { readonly: false, recursiveReadonly: false, propagation: 'private' } as const;

    it('for a missing mount source', () =>
      createFails('not-found', /cannot mount host path "\/nope"/, {
        mounts: [{ source: '/nope', target: '/x', ...mount }],
      }));
    it('for a mount target in /proc', () =>
      createFails('invalid-argument', /container path "\/proc\/sys"/, {
        mounts: [{ source: '/tmp', target: '/proc/sys', ...mount }],
      }));
    it('for a folder mounted onto a file', () =>
      createFails('invalid-argument', /container path "\/etc\/passwd"/, {
        mounts: [{ source: '/tmp', target: '/etc/passwd', ...mount }],
      }));
    it('for a missing log folder', () =>
      createFails('not-found', /log folder "\/nope" does not exist/, { logPath: '/nope/log' }));
    it('for a namespace that does not exist', () =>
      createFails('internal', /liblxc could not build it: /, {
        namespaces: { network: '/nope', ipc: 'new', uts: 'new', pid: 'new' },
      }));
    it('for a NUL in an argument', () =>
      createFails('invalid-argument', /NUL/, { process: { argv: ['a\0b'] } }));
    it('for a newline in a namespace path', () =>
      createFails('invalid-argument', /malformed/, {
        namespaces: { network: '/x\nlxc.hook.start = /x', ipc: 'new', uts: 'new', pid: 'new' },
      }));
    it('for a log that is a symlink', async () => {
      const target = join(fixture.folder, 'shadow');
      writeFileSync(target, 'secret');
      const link = join(fixture.folder, 'link.log');
      const { symlinkSync } = await import('node:fs');
      symlinkSync(target, link);
      await createFails('invalid-argument', /link\.log/, { logPath: link });
      assert.equal(readFileSync(target, 'utf8'), 'secret');
    });
    it('for a log that is a folder', async () => {
      const logPath = join(fixture.folder, 'folder.log');
      mkdirSync(logPath);
      await createFails('internal', /folder\.log/, { logPath });
    });
  });

  it('says so when the shim cannot run, or dies at once', async () => {
    const spec = fixture.spec('');
    const { addon } = fixture.spawner;
    const missing = fixture.newEngine('/nope');
    await assert.rejects(
      missing.create(spec, addon.memfd('not-a-root', new Uint8Array())),
      fails('failed-precondition', /cannot load \/nope\/pvecri-init/),
    );
    const libexec = join(fixture.folder, 'libexec');
    mkdirSync(libexec);
    writeFileSync(join(libexec, 'pvecri-init'), '');
    const half = fixture.newEngine(libexec);
    await assert.rejects(
      half.create(spec, addon.memfd('not-a-root', new Uint8Array())),
      /cannot start its shim: .*ENOENT/,
    );
    const shim = '#!/bin/sh\necho ERROR it broke >&2; exit 3\n';
    writeFileSync(join(libexec, 'pvecri-shim'), shim, { mode: 0o755 });
    await assert.rejects(
      half.create(spec, addon.memfd('not-a-root', new Uint8Array())),
      fails('internal', /its shim died during creation: it broke/),
    );
    await half.close();
  });

  it('keeps the command socket of liblxc out of the host network namespace', async () => {
    const spec = fixture.spec('cat /proc/net/unix; exec sleep 100', {
      namespaces: { network: 'host', ipc: 'new', uts: 'new', pid: 'new' },
    });
    await fixture.run(spec);
    assert.doesNotMatch(readFileSync('/proc/net/unix', 'utf8'), new RegExp(spec.id + '/command'));
    await until(() => fixture.log(spec).length > 1);
    const seen = fixture.log(spec).map(([, , text]) => text);
    // It does see the host's sockets, so this is the host's namespace.
    assert.ok(seen.some((line) => line.includes('shim.sock') || line.includes('/')));
    assert.ok(!seen.some((line) => line.includes(`${spec.id}/command`)));
  });

  it('leaves no process and no mount behind', async () => {
    await sleep(50);
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
    assert.doesNotMatch(mounts, new RegExp(fixture.folder));
  });
});
