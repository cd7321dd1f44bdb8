/**
 * The native side under sanitizers: the shim with AddressSanitizer, LeakSanitizer and UBSan; the two
 * static programs, which AddressSanitizer does not support, with UBSan's traps.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AttachSession } from '../../../src/core/ports/engine.js';
import { LxcFixture } from '../../support/lxc-fixture.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';
import { processesWith, until } from '../../support/processes.js';

const FLAGS = '-std=c++20 -Inative -O1 -g -fno-exceptions -fno-rtti -fno-threadsafe-statics';

function build(program: string, out: string, flags: string): void {
  const sources = ['common', program].flatMap((folder) =>
    readdirSync(`native/${folder}`)
      .filter((name) => name.endsWith('.cc'))
      .map((name) => `native/${folder}/${name}`),
  );
  const libraries = program === 'shim' ? ['-llxc'] : [];
  const args = [...FLAGS.split(' '), ...flags.split(' '), ...sources, ...libraries];
  execFileSync('g++', [...args, '-o', join(out, `pvecri-${program}`)], { stdio: 'pipe' });
}

describe('native programs under sanitizers', () => {
  let fixture: LxcFixture;
  let libexec: string;
  before(function () {
    this.timeout(120_000);
    libexec = makeTempFolder();
    build('shim', libexec, '-fsanitize=address,undefined -fno-sanitize-recover=all');
    const trap = '-static -fsanitize=undefined -fsanitize-undefined-trap-on-error';
    build('init', libexec, trap);
    build('exec', libexec, trap);
    fixture = new LxcFixture(libexec);
  });
  after(async () => {
    await fixture.close();
    removeTempFolder(libexec);
  });

  afterEach('no report in any shim.log', async () => {
    for (const spec of fixture.specs) {
      await fixture.engine.signal(spec.id, spec.runDirectory, 9);
      await fixture.wait(spec).catch(() => undefined);
      // The leak check comes after the exit record.
      await until(() => processesWith(`pvecri-shim\0${spec.id}\0`).length === 0);
      const log = readFileSync(join(spec.runDirectory, 'shim.log'), 'utf8');
      assert.doesNotMatch(log, /Sanitizer|runtime error/);
    }
  });

  it('a whole life', async () => {
    const volume = join(fixture.folder, 'volume');
    mkdirSync(volume);
    writeFileSync(join(volume, 'file'), 'x');
    const target = (name: string): string => `/deep/${name}/target`;
    const spec = fixture.spec(
      'trap "exit 5" TERM; seq 1 50000; head -c 100000 /dev/zero; ls /deep/v/target; echo; echo e >&2; while :; do sleep 0.02; done',
      {
        readonlyRootfs: true,
        mounts: ['v', 'w'].map((name) => ({
          source: volume,
          target: target(name),
          readonly: true,
          recursiveReadonly: name === 'w',
          propagation: 'private',
        })),
        process: { uid: 1000, gid: 1000, supplementalGroups: [3], cwd: '/tmp' },
      },
    );
    await fixture.run(spec);
    await until(() => fixture.log(spec).some(([stream]) => stream === 'stderr'));
    await fixture.engine.reopenLog(spec.id, spec.runDirectory);
    const result = await fixture.exec(spec, ['/bin/sh', '-c', 'echo $0; exit 9']);
    assert.equal(result.exitCode, 9);
    await assert.rejects(fixture.exec(spec, ['/nope']), /ENOENT/);
    await assert.rejects(fixture.exec(spec, ['/bin/sleep', '9'], { timeoutMs: 50 }), /50 ms/);
    await fixture.engine.signal(spec.id, spec.runDirectory, 15);
    assert.equal((await fixture.wait(spec)).exitCode, 5);
  });

  it('a terminal', async () => {
    const spec = fixture.spec('tty; exit 3', { process: { tty: true } });
    await fixture.run(spec);
    assert.equal((await fixture.wait(spec)).exitCode, 3);
    assert.equal(fixture.log(spec)[0]?.[2].trim(), '/dev/pts/0');
  });

  it('commands with streams and terminals', async () => {
    const spec = fixture.spec('exec sleep 1000');
    await fixture.run(spec);
    for (const tty of [false, true]) {
      const session = await fixture.engine.execStream({
        id: spec.id,
        runDirectory: spec.runDirectory,
        cgroup: spec.cgroup.outer,
        userNamespace: null,
        process: { ...spec.process, argv: ['/bin/sh', '-c', 'head -c 50000; exit 4'], tty },
        stdin: true,
        size: { rows: 5, columns: 6 },
        timeoutMs: 0,
      });
      session.resize({ rows: 7, columns: 8 });
      session.stdout.resume();
      session.stderr?.resume();
      session.stdin?.write(`${'x'.repeat(99)}\n`.repeat(500));
      assert.equal(await session.exited, 4);
    }
  });

  for (const tty of [false, true])
    it(`clients${tty ? ' of a terminal' : ''} that come, write, resize, stall and go`, async function () {
      this.timeout(60_000);
      const spec = fixture.spec(
        'while read line; do [ "$line" = flood ] && seq 1 100000; echo "$line"; done; exit 6',
        { stdin: true, stdinOnce: true, process: { tty } },
      );
      await fixture.run(spec);
      const attach = (stdin: boolean): Promise<AttachSession> =>
        fixture.engine.attach({ id: spec.id, runDirectory: spec.runDirectory, tty, stdin });
      const writer = await attach(true);
      let seen = '';
      writer.stdout.on('data', (chunk: Buffer) => (seen += chunk.toString()));
      writer.stderr?.resume();
      for (let i = 0; i < 20; i += 1) {
        const session = await attach(false);
        session.resize({ rows: i, columns: i });
        session.detach();
        await session.ended;
      }
      const stuck = await attach(false);
      writer.stdin?.write('a\nflood\n');
      await until(() => /100000\r?\nflood\r?\n$/.test(seen));
      stuck.detach();
      writer.stdin?.end(tty ? '\x04' : '');
      assert.equal(await writer.ended, 'exited');
      assert.equal((await fixture.wait(spec)).exitCode, 6);
    });

  it('failures of create and start', async () => {
    const mount = { readonly: false, recursiveReadonly: false, propagation: 'private' } as const;
    for (const overrides of [
      { mounts: [{ source: '/nope', target: '/x', ...mount }] },
      { mounts: [{ source: '/tmp', target: '/etc/passwd', ...mount }] },
      { logPath: '/nope/log' },
      { namespaces: { network: '/nope', ipc: 'new', uts: 'new', pid: 'new' } },
    ])
      await assert.rejects(fixture.create(fixture.spec('', overrides)));
    const spec = fixture.spec('', { process: { argv: ['/nope'] } });
    await fixture.create(spec);
    await assert.rejects(fixture.engine.start(spec.id, spec.runDirectory), /ENOENT/);
    await fixture.wait(spec);
  });
});
