/** Commands with streams and terminals in a running container. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { RuntimeError, type ErrorKind } from '../../../src/core/errors.js';
import type { ContainerSpec } from '../../../src/core/model.js';
import type { ExecSession, ExecStreamRequest } from '../../../src/core/ports/engine.js';
import { openDescriptors, settlesAt } from '../../support/descriptors.js';
import { LxcFixture } from '../../support/lxc-fixture.js';
import { isAlive, processesWith, until } from '../../support/processes.js';

const isA =
  (kind: ErrorKind, message: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, message);
    return true;
  };

/** Collects a stream; what came so far is in `text`. */
function collect(stream: Readable | null): { text: string; bytes: number; ended: boolean } {
  const collected = { text: '', bytes: 0, ended: false };
  stream?.on('data', (chunk: Buffer) => {
    collected.text += chunk.toString();
    collected.bytes += chunk.length;
  });
  stream?.once('end', () => (collected.ended = true));
  return collected;
}

describe('exec with streams', () => {
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
  afterEach('no cgroup and no helper of a command is left', async () => {
    await until(() => fixture.leftCgroups(spec).join() === 'lxc,monitor');
    await until(() => processesWith(`pvecri-exec\0${spec.id}\0`).length === 0);
  });

  const start = (
    argv: string[],
    { tty = false, ...options }: Partial<ExecStreamRequest> & { tty?: boolean } = {},
  ): Promise<ExecSession> =>
    fixture.engine.execStream({
      id: spec.id,
      runDirectory: spec.runDirectory,
      cgroup: spec.cgroup.outer,
      userNamespace: null,
      process: { ...spec.process, argv, tty },
      stdin: false,
      size: null,
      timeoutMs: 0,
      ...options,
    });
  const sh = (script: string, options: Parameters<typeof start>[1] = {}): Promise<ExecSession> =>
    start(['/bin/sh', '-c', script], options);

  it('streams output while the command runs, stderr apart', async () => {
    const session = await sh('echo out; echo err >&2; read line; echo $line; exit 3', {
      stdin: true,
    });
    const [out, err] = [collect(session.stdout), collect(session.stderr)];
    await until(() => out.text === 'out\n' && err.text === 'err\n');
    session.stdin?.write('typed\n');
    assert.equal(await session.exited, 3);
    assert.deepEqual([out.text, err.text], ['out\ntyped\n', 'err\n']);
  });

  it('reads the null device without stdin', async () => {
    const session = await sh('cat; echo end');
    const out = collect(session.stdout);
    session.stderr?.resume();
    assert.equal(await session.exited, 0);
    assert.equal(out.text, 'end\n');
  });

  it('carries 50 MB through stdin and stdout, byte by byte', async () => {
    const session = await start(['/bin/cat'], { stdin: true });
    session.stderr?.resume();
    const block = randomBytes(1 << 20);
    const sent = createHash('sha256');
    const received = createHash('sha256');
    let bytes = 0;
    session.stdout.on('data', (chunk: Buffer) => {
      received.update(chunk);
      bytes += chunk.length;
    });
    await pipeline(function* () {
      for (let i = 0; i < 50; i += 1) {
        sent.update(block);
        yield block;
      }
    }, session.stdin!);
    assert.equal(await session.exited, 0);
    assert.equal(bytes, 50 << 20);
    assert.equal(received.digest('hex'), sent.digest('hex'));
  });

  it('gives the exit code after the last byte, also to a reader that takes its time', async () => {
    const session = await sh('head -c 300000 /dev/zero; exit 7');
    session.stderr?.resume();
    let exit: number | undefined;
    const exited = session.exited.then((code) => (exit = code));
    await new Promise((done) => setTimeout(done, 1500));
    assert.equal(exit, undefined);
    const out = collect(session.stdout);
    assert.equal(await exited, 7);
    assert.equal(out.bytes, 300000);
  });

  it('tells the signal that ended a command', async () => {
    const session = await sh('kill -TERM $$');
    session.detach();
    assert.equal(await session.exited, 128 + 15);
  });

  it('waits neither for a daemon that keeps stdout, nor loses what came before', async () => {
    const session = await sh('sleep 4330 & echo done');
    const out = collect(session.stdout);
    session.stderr?.resume();
    assert.equal(await session.exited, 0);
    assert.equal(out.text, 'done\n');
    for (const pid of processesWith('sleep\x004330')) process.kill(pid, 'SIGKILL');
  });

  it('drops what a command does not read', async () => {
    const session = await sh('exec <&-; sleep 0.3; exit 4', { stdin: true });
    session.stdout.resume();
    session.stderr?.resume();
    await pipeline(Readable.from([randomBytes(1 << 20), randomBytes(1 << 20)]), session.stdin!);
    assert.equal(await session.exited, 4);
  });

  describe('with a terminal', () => {
    it('is the controlling terminal, of the size asked for, and follows resizes', async () => {
      const session = await sh(
        'tty; stty size; trap "stty size; exit 6" WINCH; echo ready; while :; do sleep 0.05; done',
        { tty: true, size: { rows: 33, columns: 101 } },
      );
      assert.equal(session.stderr, null);
      const out = collect(session.stdout);
      await until(() => out.text.includes('ready'));
      assert.match(out.text, /^\/dev\/pts\/\d+\r\n33 101\r\nready\r\n$/);
      for (let columns = 1; columns <= 132; columns += 1) session.resize({ rows: 50, columns });
      assert.equal(await session.exited, 6);
      assert.match(out.text, /\r\n50 \d+\r\n/);
    });

    it('is a shell one can type into, with Ctrl-C and Ctrl-D', async () => {
      const session = await start(['/bin/sh', '-i'], { tty: true, stdin: true });
      const out = collect(session.stdout);
      session.stdin?.write('echo $((6*7)); test -t 0 && test -t 1 && test -t 2 && echo a-tty\n');
      await until(() => /\r\n42\r\na-tty\r\n/.test(out.text));
      session.stdin?.write('sleep 4331\n');
      await until(() => processesWith('sleep\x004331').length === 1);
      session.stdin?.write('\x03');
      await until(() => processesWith('sleep\x004331').length === 0);
      session.stdin?.write('echo code $?\n');
      // Its prompt: a Ctrl-D that comes before the shell edits lines again is the terminal's, and lost.
      await until(() => /code 130\r\n[^]*# /.test(out.text));
      session.stdin?.write('\x04');
      assert.equal(await session.exited, 0);
    });

    it('delivers all output before the exit code', async () => {
      const session = await sh('stty -onlcr; seq 1 200000; exit 5', { tty: true });
      const out = collect(session.stdout);
      assert.equal(await session.exited, 5);
      assert.ok(out.text.endsWith('199999\n200000\n'));
      assert.equal(out.text.split('\n').length, 200001);
    });

    it('belongs to the user of the command', async () => {
      const session = await sh('echo by name > $(tty); stat -c %u $(tty)', {
        process: {
          ...spec.process,
          argv: ['/bin/sh', '-c', 'echo by name > $(tty); stat -c %u $(tty)'],
          uid: 1000,
          gid: 1000,
          tty: true,
        },
      });
      const out = collect(session.stdout);
      assert.equal(await session.exited, 0);
      assert.equal(out.text, 'by name\r\n1000\r\n');
    });
  });

  describe('that cannot run', () => {
    for (const tty of [false, true]) {
      it(`leaves nothing behind, 100 times${tty ? ', with a terminal' : ''}`, async function () {
        this.timeout(60_000);
        const try1 = (): Promise<void> =>
          assert.rejects(
            start(['/nope'], { tty, stdin: true }),
            isA('invalid-argument', /cannot run "\/nope": no such file or directory \(ENOENT\)/),
          );
        await try1();
        const baseline = openDescriptors();
        for (let i = 0; i < 100; i += 1) await try1();
        assert.ok(await settlesAt(openDescriptors, baseline), `${openDescriptors()} > ${baseline}`);
      });
    }

    it('because the container does not run', async () => {
      const created = fixture.spec('true');
      await fixture.create(created);
      await assert.rejects(
        start(['/bin/true'], { id: created.id, runDirectory: created.runDirectory }),
        isA('failed-precondition', /is not running/),
      );
    });
  });

  describe('and its client', () => {
    for (const tty of [false, true]) {
      const kind = tty ? 'on a terminal' : 'on pipes';
      it(`${kind} can end it with its tree`, async () => {
        const session = await sh('sleep 4332 & setsid sleep 4333 & sleep 4334', { tty });
        session.stdout.resume();
        await until(() => processesWith('sleep\x00433').length === 3);
        session.kill();
        await assert.rejects(session.exited, isA('cancelled', /cancelled/));
        await until(() => processesWith('sleep\x00433').length === 0);
      });

      it(`${kind} can leave it: it goes on, and its output disturbs nobody`, async () => {
        const baseline = openDescriptors();
        const session = await sh(
          'i=0; while [ $i -lt 2000 ]; do echo "$i ................................................................................"; i=$((i+1)); done; exec sleep 4335',
          { tty, stdin: true },
        );
        session.detach();
        await until(() => processesWith('sleep\x004335').length === 1);
        for (const pid of processesWith('sleep\x004335')) process.kill(pid, 'SIGKILL');
        assert.equal(await session.exited, 137);
        assert.ok(await settlesAt(openDescriptors, baseline));
      });

      it(`${kind} that never reads holds it, and it can still be ended`, async () => {
        const session = await sh('seq 1 1000000; exec sleep 4336', { tty });
        await new Promise((done) => setTimeout(done, 500));
        assert.equal(processesWith('sleep\x004336').length, 0);
        session.kill();
        await assert.rejects(session.exited, isA('cancelled', /cancelled/));
      });

      it(`${kind}: a time limit ends it`, async () => {
        const session = await sh('trap "" TERM HUP; sleep 4337; sleep 4337', {
          tty,
          timeoutMs: 300,
        });
        session.stdout.resume();
        await assert.rejects(session.exited, isA('deadline-exceeded', /within 300 ms/));
        await until(() => processesWith('sleep\x004337').filter(isAlive).length === 0);
      });

      it(`${kind}: it ends when the helper is killed`, async () => {
        const session = await sh('setsid sleep 4338 & sleep 4339', { tty });
        session.stdout.resume();
        await until(() => processesWith('sleep\x00433').length === 2);
        const [helper] = processesWith(`pvecri-exec\0${spec.id}\0`);
        process.kill(helper ?? 0, 'SIGKILL');
        await assert.rejects(session.exited, isA('internal', /exec helper was killed/));
        await until(() => processesWith('sleep\x00433').filter(isAlive).length === 0);
      });
    }
  });
});
