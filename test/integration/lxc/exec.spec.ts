/** Commands in a running container. */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { RuntimeError, type ErrorKind } from '../../../src/core/errors.js';
import type { ContainerSpec } from '../../../src/core/model.js';
import { LxcFixture } from '../../support/lxc-fixture.js';
import { scriptArguments } from '../../support/script.js';
import { patient } from '../../support/patience.js';
import { isAlive, processesWith, until } from '../../support/processes.js';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const isA =
  (kind: ErrorKind, message: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, message);
    return true;
  };

describe('exec', () => {
  let fixture: LxcFixture;
  let spec: ContainerSpec;
  before(async () => {
    fixture = new LxcFixture();
    spec = fixture.spec('exec sleep 1000');
    await fixture.run(spec);
  });
  after(async () => {
    await fixture.close();
  });
  afterEach('no cgroup of a command is left', async () => {
    await until(() => fixture.leftCgroups(spec).join() === 'lxc,monitor');
  });

  const sh = (script: string, limits = {}): ReturnType<LxcFixture['exec']> =>
    fixture.exec(spec, ['/bin/sh', '-c', script], limits);

  it('gives exit code, stdout and stderr', async () => {
    const result = await sh('echo out; echo err >&2; exit 3');
    assert.deepEqual(
      [result.exitCode, text(result.stdout), text(result.stderr)],
      [3, 'out\n', 'err\n'],
    );
  });

  it('gives 128 and the signal of a command that was killed', async () => {
    assert.equal((await sh('kill -9 $$')).exitCode, 137);
  });

  it('runs in the namespaces of the container', async () => {
    const script = 'for ns in mnt pid net ipc uts cgroup; do readlink /proc/$P/ns/$ns; done';
    const own = await sh(`P=self; ${script}`);
    const init = await sh(`P=1; ${script}`);
    assert.equal(text(own.stdout), text(init.stdout));
    const namespaces = text(own.stdout).trim().split('\n');
    assert.equal(namespaces.length, 6);
    for (const namespace of namespaces)
      assert.notEqual(readlinkSync(`/proc/self/ns/${namespace.split(':')[0]}`), namespace);
  });

  it('has descriptors 0, 1 and 2 and no other, seen from the host', async () => {
    const running = sh('exec sleep 4320');
    await until(() => processesWith('sleep\x004320').length === 1);
    const [pid] = processesWith('sleep\x004320');
    assert.deepEqual(readdirSync(`/proc/${pid}/fd`), ['0', '1', '2']);
    assert.notEqual(statSync(`/proc/${pid}/fd/0`).dev, statSync('/dev/null').dev);
    process.kill(pid ?? 0, 'SIGKILL');
    assert.equal((await running).exitCode, 137);
  });

  it('does not give way to a program of the host by /proc/self/exe', async () => {
    const result = await fixture.exec(spec, ['/proc/self/exe']);
    assert.notEqual(result.exitCode, 0);
  });

  it('says what is wrong with a command that cannot run', async () => {
    await assert.rejects(
      fixture.exec(spec, ['/nope']),
      isA('invalid-argument', /cannot run "\/nope": no such file or directory \(ENOENT\)/),
    );
    await assert.rejects(
      fixture.exec(spec, ['/bin/true'], {}, { cwd: '/nope' }),
      isA('invalid-argument', /working directory "\/nope"/),
    );
    await assert.rejects(
      fixture.exec(spec, ['/bin/true'], {}, { cwd: '/proc/self/fd/4' }),
      isA('invalid-argument', /working directory/),
    );
  });

  it('kills the whole tree of a command at its time limit, and nothing else', async () => {
    const start = Date.now();
    await assert.rejects(
      sh('sleep 4321 & setsid sleep 4322 & sleep 4323', { timeoutMs: 300 }),
      isA('deadline-exceeded', /did not end within 300 ms/),
    );
    assert.ok(Date.now() - start < patient(3000));
    await until(() => processesWith('sleep\x00432').length === 0);
    assert.equal((await sh('echo alive')).exitCode, 0);
    const state = await fixture.engine.inspect(spec.id, spec.directory, spec.runDirectory);
    assert.equal(state.state, 'running');
  });

  it('kills the command when the agent goes', async () => {
    const { spawn } = await import('node:child_process');
    const agent = spawn(
      process.execPath,
      [
        ...scriptArguments('test/support/exec-and-wait'),
        JSON.stringify({ ...spec, process: { ...spec.process, argv: ['/bin/sleep', '4324'] } }),
      ],
      { stdio: 'inherit' },
    );
    await until(() => processesWith('sleep\x004324').length === 1);
    agent.kill('SIGKILL');
    await until(() => processesWith('sleep\x004324').length === 0);
  });

  it('kills the whole tree when the helper is killed', async () => {
    const running = sh('setsid sleep 4328 & sleep 4329');
    const refused = assert.rejects(running, isA('internal', /exec helper was killed/));
    await until(() => processesWith('sleep\x00432').length === 2);
    const helpers = processesWith(`pvecri-exec\0${spec.id}\0`);
    assert.equal(helpers.length, 1);
    process.kill(helpers[0] ?? 0, 'SIGKILL');
    await refused;
    assert.deepEqual(processesWith('sleep\x00432').filter(isAlive), []);
    assert.equal((await sh('echo alive')).exitCode, 0);
  });

  it('kills the whole tree at its time limit when the helper hangs', async () => {
    const running = sh('setsid sleep 4328 & sleep 4329', { timeoutMs: 500 });
    const refused = assert.rejects(running, isA('deadline-exceeded', /within 500 ms/));
    await until(() => processesWith('sleep\x00432').length === 2);
    const [helper] = processesWith(`pvecri-exec\0${spec.id}\0`);
    process.kill(helper ?? 0, 'SIGSTOP');
    try {
      await refused;
      assert.deepEqual(processesWith('sleep\x00432').filter(isAlive), []);
    } finally {
      process.kill(helper ?? 0, 'SIGCONT');
    }
    await until(() => processesWith(`pvecri-exec\0${spec.id}\0`).length === 0);
  });

  it('ends when it is cancelled', async () => {
    const controller = new AbortController();
    const running = sh('sleep 4325', { signal: controller.signal });
    await until(() => processesWith('sleep\x004325').length === 1);
    controller.abort();
    await assert.rejects(running, isA('cancelled', /cancelled/));
    await until(() => processesWith('sleep\x004325').length === 0);
    await assert.rejects(
      sh('true', { signal: AbortSignal.abort() }),
      isA('cancelled', /cancelled/),
    );
  });

  it('cuts each stream at its limit and goes on reading', async () => {
    const result = await sh('seq 1 300000; seq 1 9 >&2; exit 1', { maxOutputBytes: 10 });
    assert.deepEqual(
      [result.exitCode, text(result.stdout), text(result.stderr)],
      [1, '1\n2\n3\n4\n5\n', '1\n2\n3\n4\n5\n'],
    );
  });

  it('lets a process that the command leaves behind go on in the container', async () => {
    const result = await sh('sleep 4326 >/dev/null 2>&1 & echo done');
    assert.equal(text(result.stdout), 'done\n');
    const [left] = processesWith('sleep\x004326');
    assert.ok(left !== undefined && isAlive(left));
    process.kill(left, 'SIGKILL');
  });

  it('does not wait for ever for one that keeps its stdout', async () => {
    const start = Date.now();
    const result = await sh('sleep 4327 & echo done');
    assert.equal(text(result.stdout), 'done\n');
    assert.ok(Date.now() - start < patient(5000));
    for (const pid of processesWith('sleep\x004327')) process.kill(pid, 'SIGKILL');
  });

  it('tells a command that ends with 126 or 127 from one that cannot run', async () => {
    for (const code of [126, 127]) assert.equal((await sh(`exit ${code}`)).exitCode, code);
  });

  it('has exactly the environment it was given', async () => {
    const env = ['A=1', 'C=line\nbreak'];
    const result = await fixture.exec(spec, ['/bin/cat', '/proc/self/environ'], {}, { env });
    assert.deepEqual(text(result.stdout).split('\0').slice(0, -1), env);
  });

  it('runs many at once', async () => {
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) => sh(`echo ${index}; exit ${index}`)),
    );
    results.forEach((result, index) => {
      assert.deepEqual([result.exitCode, text(result.stdout)], [index, `${index}\n`]);
    });
  });

  it('is refused by a container that does not run', async () => {
    const created = fixture.spec('true');
    await fixture.create(created);
    await assert.rejects(
      fixture.exec(created, ['/bin/true']),
      isA('failed-precondition', /is not running/),
    );
    await fixture.engine.start(created.id, created.runDirectory);
    await fixture.wait(created);
    await sleep(10);
    await assert.rejects(
      fixture.exec(created, ['/bin/true']),
      isA('failed-precondition', /is not running/),
    );
  });
});
