/** Clients attached to a container's own process. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { RuntimeError, type ErrorKind } from '../../../src/core/errors.js';
import { CHANNEL } from '../../../src/core/attach-frames.js';
import type { ContainerSpec } from '../../../src/core/model.js';
import type { AttachSession } from '../../../src/core/ports/engine.js';
import { MessageWriter, OPERATION, TAG } from '../../../src/core/shim-spec.js';
import { openDescriptors, settlesAt } from '../../support/descriptors.js';
import { LxcFixture, type Overrides } from '../../support/lxc-fixture.js';
import { shimPid, until } from '../../support/processes.js';

const isA =
  (kind: ErrorKind, message: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, message);
    return true;
  };

/** Collects a stream; what came so far is in `text`. */
function collect(stream: Readable | null): { text: string; bytes: number } {
  const collected = { text: '', bytes: 0 };
  stream?.on('data', (chunk: Buffer) => {
    collected.text += chunk.toString();
    collected.bytes += chunk.length;
  });
  return collected;
}

const shimDescriptors = (spec: ContainerSpec): number =>
  readdirSync(`/proc/${shimPid(spec)}/fd`).length;

/** Says what it reads, and that it is ready. */
const ECHO =
  'echo ready; while read line; do echo "got $line"; echo "err $line" >&2; done; echo eof';

describe('attach', () => {
  let fixture: LxcFixture;
  before(() => {
    fixture = new LxcFixture();
  });
  after(async () => {
    await fixture.close();
  });

  const run = async (script: string, overrides: Overrides = {}): Promise<ContainerSpec> => {
    const spec = fixture.spec(script, { stdin: true, ...overrides });
    await fixture.run(spec);
    return spec;
  };
  const attach = (spec: ContainerSpec, stdin = true): Promise<AttachSession> =>
    fixture.engine.attach({
      id: spec.id,
      runDirectory: spec.runDirectory,
      tty: spec.process.tty,
      stdin,
    });
  const logged = (spec: ContainerSpec, stream: string): string =>
    fixture
      .log(spec)
      .filter(([name]) => name === stream)
      .map(([, tag, text]) => text + (tag === 'F' ? '\n' : ''))
      .join('');

  it('gives output from now on, with stderr apart, and takes input', async () => {
    const spec = await run(ECHO);
    await until(() => logged(spec, 'stdout') === 'ready\n');
    const session = await attach(spec);
    const [out, err] = [collect(session.stdout), collect(session.stderr)];
    session.stdin?.write('one\ntwo\n');
    await until(() => out.text === 'got one\ngot two\n' && err.text === 'err one\nerr two\n');
    assert.equal(logged(spec, 'stdout'), 'ready\ngot one\ngot two\n');
    session.detach();
    assert.equal(await session.ended, 'detached');
    // The end of a client is not the end of the input.
    const again = await attach(spec);
    const later = collect(again.stdout);
    again.stderr?.resume();
    again.stdin?.write('three\n');
    await until(() => later.text === 'got three\n');
    again.detach();
  });

  it('serves several clients at once', async () => {
    const spec = await run(ECHO);
    const sessions = await Promise.all([attach(spec), attach(spec, false), attach(spec)]);
    const outputs = sessions.map(({ stdout }) => collect(stdout));
    for (const { stderr } of sessions) stderr?.resume();
    sessions[0].stdin?.write('a\n');
    await until(() => outputs.every(({ text }) => text.endsWith('got a\n')));
    sessions[2].stdin?.write('b\n');
    await until(() => outputs.every(({ text }) => text.endsWith('got a\ngot b\n')));
    for (const session of sessions) session.detach();
  });

  it('tells the end of the container after its last output', async () => {
    const spec = await run('read go; head -c 200000 /dev/zero | tr "\\0" x; exit 3');
    const session = await attach(spec);
    const out = collect(session.stdout);
    session.stderr?.resume();
    session.stdin?.write('go\n');
    assert.equal(await session.ended, 'exited');
    assert.equal(out.bytes, 200000);
    assert.equal((await fixture.wait(spec)).exitCode, 3);
  });

  it('carries 50 MB through stdin and stdout, byte by byte, and the log has them too', async function () {
    this.timeout(60_000);
    const spec = await run('exec cat', { stdinOnce: true, logPath: '' });
    const session = await attach(spec);
    session.stderr?.resume();
    const block = randomBytes(1 << 20);
    const [sent, received] = [createHash('sha256'), createHash('sha256')];
    session.stdout.on('data', (chunk: Buffer) => received.update(chunk));
    await pipeline(function* () {
      for (let i = 0; i < 50; i += 1) {
        sent.update(block);
        yield block;
      }
    }, session.stdin!);
    assert.equal(await session.ended, 'exited');
    assert.equal(received.digest('hex'), sent.digest('hex'));
  });

  describe('stdin', () => {
    it('of a stdin_once container ends when its first writer ends it', async () => {
      const spec = await run(ECHO, { stdinOnce: true });
      const reader = await attach(spec, false);
      reader.detach();
      const session = await attach(spec);
      const out = collect(session.stdout);
      session.stderr?.resume();
      session.stdin?.end('last\n');
      assert.equal(await session.ended, 'exited');
      assert.ok(out.text.endsWith('got last\neof\n'), out.text);
    });

    it('of a stdin_once container ends when its first writer leaves', async () => {
      const spec = await run(`${ECHO}; exec sleep 1000`, { stdinOnce: true });
      const session = await attach(spec);
      session.stdin?.write('x\n');
      await until(() => logged(spec, 'stdout').includes('got x\n'));
      session.detach();
      await until(() => logged(spec, 'stdout').endsWith('eof\n'));
      await assert.rejects(attach(spec), isA('failed-precondition', /has no stdin/));
      const reader = await attach(spec, false);
      reader.detach();
    });

    it('of any other stays open when a client ends its own', async () => {
      const spec = await run(ECHO);
      const session = await attach(spec);
      session.stderr?.resume();
      const out = collect(session.stdout);
      session.stdin?.end('x\n');
      await until(() => out.text.endsWith('got x\n'));
      const other = await attach(spec);
      other.stdin?.write('y\n');
      await until(() => out.text.endsWith('got y\n'));
      assert.ok(!logged(spec, 'stdout').includes('eof'));
      session.detach();
      other.detach();
    });

    it('that the payload does not read holds its writer alone', async () => {
      const spec = await run('echo ready; sleep 0.7; wc -c; exec sleep 1000', { stdinOnce: true });
      const session = await attach(spec);
      const reader = await attach(spec, false);
      const out = collect(reader.stdout);
      let written = false;
      const writing = pipeline(
        Readable.from(Array.from({ length: 16 }, () => Buffer.alloc(1 << 16))),
        session.stdin!,
      ).then(() => (written = true));
      await new Promise((done) => setTimeout(done, 300));
      assert.equal(written, false);
      await fixture.engine.inspect(spec.id, spec.directory, spec.runDirectory);
      await writing;
      await until(() => out.text.endsWith(`${1 << 20}\n`));
      session.detach();
      reader.detach();
    });

    it('that the payload has closed is dropped', async () => {
      const spec = await run('exec <&-; echo closed; exec sleep 1000');
      await until(() => logged(spec, 'stdout') === 'closed\n');
      const session = await attach(spec);
      session.stdout.resume();
      session.stderr?.resume();
      await pipeline(Readable.from([Buffer.alloc(1 << 20)]), session.stdin!);
      session.detach();
    });

    it('is refused where there is none', async () => {
      const spec = await run('exec sleep 1000', { stdin: false });
      await assert.rejects(attach(spec), isA('failed-precondition', /has no stdin/));
      (await attach(spec, false)).detach();
    });
  });

  describe('a terminal', () => {
    it('takes input and sizes, of several clients', async () => {
      const spec = await run('trap "stty size" WINCH; echo ready; while :; do sleep 0.05; done', {
        process: { tty: true },
      });
      await until(() => logged(spec, 'stdout').includes('ready'));
      const [one, two] = await Promise.all([attach(spec), attach(spec)]);
      assert.equal(one.stderr, null);
      const outputs = [collect(one.stdout), collect(two.stdout)];
      one.resize({ rows: 40, columns: 120 });
      await until(() => outputs.every(({ text }) => text.includes('40 120\r\n')));
      two.resize({ rows: 24, columns: 80 });
      await until(() => outputs.every(({ text }) => text.endsWith('24 80\r\n')));
      two.stdin?.write('\x03');
      assert.equal(await one.ended, 'exited');
      await fixture.wait(spec);
      assert.equal(await two.ended, 'exited');
    });

    it('is not ended by the end of a client', async () => {
      const spec = await run('while read line; do echo "<$line>"; done; echo eof', {
        stdinOnce: true,
        process: { tty: true },
      });
      const session = await attach(spec);
      const out = collect(session.stdout);
      session.stdin?.end('a\n');
      await until(() => out.text.includes('<a>'));
      session.detach();
      const again = await attach(spec);
      const later = collect(again.stdout);
      again.stdin?.write('b\n');
      await until(() => later.text.includes('<b>'));
      again.stdin?.write('\x04');
      assert.equal(await again.ended, 'exited');
      assert.ok(later.text.includes('eof'));
    });

    it('without stdin is refused to a writer', async () => {
      const spec = await run('exec sleep 1000', { stdin: false, process: { tty: true } });
      await assert.rejects(attach(spec), isA('failed-precondition', /has no stdin/));
    });
  });

  it('is refused by a container that does not run', async () => {
    const created = fixture.spec('true');
    await fixture.create(created);
    await assert.rejects(attach(created, false), isA('failed-precondition', /not running/));
    await fixture.engine.start(created.id, created.runDirectory);
    await fixture.wait(created);
    await assert.rejects(attach(created, false), isA('failed-precondition', /not running/));
  });

  it('takes eight clients and refuses a ninth', async () => {
    const spec = await run('exec sleep 1000');
    const sessions = await Promise.all(Array.from({ length: 8 }, () => attach(spec, false)));
    await assert.rejects(attach(spec, false), isA('resource-exhausted', /as many clients/));
    sessions.pop()?.detach();
    await until(() =>
      attach(spec, false).then(
        (session) => sessions.push(session) > 0,
        () => false,
      ),
    );
    for (const session of sessions) session.detach();
  });

  it('drops a client that does not read, and the payload goes on', async function () {
    this.timeout(60_000);
    const spec = await run('read go; seq 1 400000; echo done; exec sleep 1000');
    const reader = await attach(spec);
    const stuck = await attach(spec, false);
    const out = collect(reader.stdout);
    reader.stderr?.resume();
    stuck.stderr?.resume();
    const started = Date.now();
    reader.stdin?.write('go\n');
    await until(() => out.text.endsWith('done\n'));
    assert.ok(Date.now() - started > 4000, 'it was waited for');
    assert.equal(out.text.split('\n').length, 400002);
    assert.equal(logged(spec, 'stdout'), out.text);
    stuck.stdout.resume();
    assert.equal(await stuck.ended, 'dropped');
    reader.detach();
  });

  it('ends in time although a client does not read', async function () {
    this.timeout(60_000);
    const spec = await run('read go; seq 1 60000; exit 5');
    const stuck = await attach(spec);
    stuck.stdin?.write('go\n');
    const started = Date.now();
    assert.equal((await fixture.wait(spec)).exitCode, 5);
    assert.ok(Date.now() - started < 9000);
    assert.equal(logged(spec, 'stdout').split('\n').length, 60001);
    stuck.detach();
  });

  it('500 times connect and abort leaves descriptors and memory as they were', async function () {
    this.timeout(60_000);
    const spec = await run('while :; do echo tick; sleep 0.01; done');
    const once = async (index: number): Promise<void> => {
      const session = await attach(spec, index % 2 === 0);
      if (index % 3 === 0) session.stdin?.write('x');
      session.detach();
      await session.ended;
    };
    const memory = (): number =>
      Number(
        /^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${shimPid(spec)}/smaps_rollup`, 'utf8'))?.[1],
      );
    for (let i = 0; i < 10; i += 1) await once(i);
    const [ours, shims, kib] = [openDescriptors(), shimDescriptors(spec), memory()];
    for (let i = 0; i < 500; i += 1) {
      // The shim learns of an end by its next event; eight have room meanwhile.
      await until(() =>
        once(i).then(
          () => true,
          () => false,
        ),
      );
    }
    assert.ok(await settlesAt(openDescriptors, ours));
    assert.ok(await settlesAt(() => shimDescriptors(spec), shims));
    assert.ok(memory() <= kib + 64, `${memory()} KiB, before ${kib}`);
  });

  it('drops a client that speaks no frames', async () => {
    const spec = await run('exec sleep 1000');
    const before = shimDescriptors(spec);
    for (const garbage of [
      Buffer.from([9, 0, 0, 0, 0]),
      Buffer.from([CHANNEL.size, 5, 0, 0, 0]),
      Buffer.from([CHANNEL.stdin, 255, 255, 255, 255]),
      Buffer.from([CHANNEL.stdinEnd, 1, 0, 0, 0]),
    ]) {
      const socket = createConnection(`${spec.runDirectory}/shim.sock`);
      const body = new MessageWriter().number(TAG.operation, OPERATION.attach).finish();
      const length = Buffer.alloc(4);
      length.writeUInt32LE(body.length);
      socket.write(Buffer.concat([length, body, garbage]));
      socket.on('error', () => undefined);
      socket.resume();
      await new Promise((resolve) => socket.once('close', resolve));
    }
    assert.ok(await settlesAt(() => shimDescriptors(spec), before));
    await fixture.engine.inspect(spec.id, spec.directory, spec.runDirectory);
  });

  it('tells the end of a shim that was killed', async () => {
    const spec = await run('exec sleep 1000');
    const session = await attach(spec);
    session.stdout.resume();
    session.stderr?.resume();
    process.kill(shimPid(spec), 'SIGKILL');
    assert.equal(await session.ended, 'dropped');
    await assert.rejects(fixture.wait(spec));
  });
});
