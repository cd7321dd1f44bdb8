/** The container's log as the shim writes it. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { RuntimeError } from '../../../src/core/errors.js';
import { LxcFixture } from '../../support/lxc-fixture.js';
import { processesWith, until } from '../../support/processes.js';

describe('container log', () => {
  let fixture: LxcFixture;
  before(() => {
    fixture = new LxcFixture();
  });
  after(async () => {
    await fixture.close();
  });

  it('keeps stdout and stderr apart, each line stamped', async () => {
    const spec = fixture.spec('echo one; sleep 0.1; echo two >&2; sleep 0.1; echo; printf last');
    await fixture.run(spec);
    await fixture.wait(spec);
    const lines = readFileSync(spec.logPath, 'utf8').split('\n');
    assert.equal(lines.pop(), '');
    assert.deepEqual(
      lines.map((line) => line.replace(/^\S+ /, '')),
      ['stdout F one', 'stderr F two', 'stdout F ', 'stdout F last'],
    );
    const times = lines.map((line) => line.split(' ')[0] ?? '');
    for (const time of times) assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    assert.deepEqual([...times].sort(), times);
    assert.ok(Math.abs(Date.parse(times[0] ?? '') - Date.now()) < 60_000);
    assert.equal(statSync(spec.logPath).mode & 0o777, 0o640);
  });

  const cut = 16 * 1024;
  for (const [size, tags] of [
    [cut - 1, ['F']],
    [cut, ['F']],
    [cut + 1, ['P', 'F']],
    [3 * cut, ['P', 'P', 'F']],
    [3 * cut + 5, ['P', 'P', 'P', 'F']],
  ] as const)
    it(`cuts a line of ${size} bytes into ${tags.length}`, async () => {
      const spec = fixture.spec(`head -c ${size} /dev/zero | tr '\\0' x; echo; echo end`);
      await fixture.run(spec);
      await fixture.wait(spec);
      const log = fixture.log(spec);
      assert.deepEqual(log.pop(), ['stdout', 'F', 'end']);
      assert.deepEqual(
        log.map(([, tag]) => tag),
        tags,
      );
      assert.equal(log.map(([, , text]) => text).join(''), 'x'.repeat(size));
    });

  it('loses nothing of a flood of short lines', async () => {
    const spec = fixture.spec('seq 1 200000; seq 1 1000 >&2');
    await fixture.run(spec);
    await fixture.wait(spec);
    const log = fixture.log(spec);
    const text = (stream: string): string[] =>
      log.filter(([name]) => name === stream).map(([, , line]) => line);
    const numbers = (last: number): string[] =>
      Array.from({ length: last }, (_, index) => String(index + 1));
    assert.deepEqual(text('stdout'), numbers(200_000));
    assert.deepEqual(text('stderr'), numbers(1000));
  });

  it('passes every byte but the newline', async () => {
    const spec = fixture.spec(`printf '\\0\\001\\377\\r\\n'`);
    await fixture.run(spec);
    await fixture.wait(spec);
    const bytes = readFileSync(spec.logPath);
    assert.deepEqual([...bytes.subarray(-6)], [0x20, 0, 1, 255, 13, 10]);
  });

  it('is discarded without a path', async () => {
    const spec = fixture.spec('seq 1 100000', { logPath: '' });
    await fixture.run(spec);
    assert.equal((await fixture.wait(spec)).exitCode, 0);
  });

  it('goes on in a new file after a reopen, and in the old one when that fails', async () => {
    const spec = fixture.spec('trap "echo more" USR1; echo first; while :; do sleep 0.02; done');
    await fixture.run(spec);
    await until(() => fixture.log(spec).length === 1);
    const rotated = `${spec.logPath}.1`;
    renameSync(spec.logPath, rotated);
    await fixture.engine.reopenLog(spec.id, spec.runDirectory);
    await fixture.engine.signal(spec.id, spec.runDirectory, 10);
    await until(() => fixture.log(spec).length === 1);
    assert.deepEqual(fixture.log(spec), [['stdout', 'F', 'more']]);
    assert.match(readFileSync(rotated, 'utf8'), /^\S+ stdout F first\n$/);

    const hidden = join(fixture.folder, 'hidden');
    renameSync(fixture.logs, hidden);
    try {
      await assert.rejects(
        fixture.engine.reopenLog(spec.id, spec.runDirectory),
        (error) => error instanceof RuntimeError && error.kind === 'not-found',
      );
      assert.equal(existsSync(fixture.logs), false);
    } finally {
      renameSync(hidden, fixture.logs);
    }
    await fixture.engine.signal(spec.id, spec.runDirectory, 10);
    await until(() => fixture.log(spec).length === 2);
  });

  it('does not hold the payload back when the disk is full', async () => {
    const spec = fixture.spec('seq 1 200000; exit 6', { logPath: '/dev/shm/pvecri-test-full/log' });
    const { execFileSync } = await import('node:child_process');
    execFileSync('mkdir', ['-p', '/dev/shm/pvecri-test-full']);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', '/dev/shm/pvecri-test-full']);
    try {
      await fixture.run(spec);
      assert.equal((await fixture.wait(spec)).exitCode, 6);
      const lines = readFileSync(spec.logPath, 'utf8').split('\n');
      assert.match(lines[0] ?? '', / stdout F 1$/);
    } finally {
      // The shim has the log open up to its very end.
      await until(() => processesWith(`pvecri-shim\0${spec.id}\0`).length === 0);
      execFileSync('umount', ['/dev/shm/pvecri-test-full']);
      rmSync('/dev/shm/pvecri-test-full', { recursive: true });
    }
  });

  it('ends with the container although a descriptor was handed out of it', async () => {
    const spec = fixture.spec('sleep 0.2; exit 2');
    const { pid } = await fixture.run(spec);
    // What a test harness or a debugger on the host may do: keep the payload's stdout open.
    const { closeSync, openSync } = await import('node:fs');
    const kept = openSync(`/proc/${pid}/fd/1`, 'w');
    try {
      assert.equal((await fixture.wait(spec)).exitCode, 2);
    } finally {
      closeSync(kept);
    }
  });
});
