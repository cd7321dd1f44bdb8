import assert from 'node:assert/strict';
import { spawn as nodeSpawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type ExitStatus, libexecDir, loadAddon } from '../../../src/native/binding.js';
import { openDescriptors, settlesAt, threads } from '../../support/descriptors.js';

describe('ExitWatcher', () => {
  const addon = loadAddon();

  const start = (script: string): Promise<{ pid: number; pidfd: number }> =>
    addon.spawn({ file: '/bin/sh', argv: ['sh', '-c', script], env: [], fds: [-1, -1, -1] });

  async function until(condition: () => boolean): Promise<void> {
    for (let attempt = 0; attempt < 5000 && !condition(); attempt += 1) await delay(2);
    assert.ok(condition());
  }

  it('reports once, for a process that had ended before, too', async () => {
    const reports: [number, ExitStatus | null][] = [];
    const watcher = new addon.ExitWatcher((...report) => reports.push(report));
    const child = await start('exit 3');
    await delay(50);
    watcher.add(child.pidfd, 9007199254740991);
    closeSync(child.pidfd);
    await until(() => reports.length > 0);
    await delay(30);
    watcher.close();
    assert.deepEqual(reports, [[9007199254740991, { code: 3, signal: null }]]);
  });

  it('tells of a process that is not our child, without its status', async () => {
    const outer = nodeSpawn('/bin/sh', ['-c', 'sleep 0.1 & echo $!; wait'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [line] = (await once(outer.stdout, 'data')) as [Buffer];
    const pidfd = addon.pidfdOpen(Number(line.toString()));
    const reports: unknown[] = [];
    const watcher = new addon.ExitWatcher((token, status) => reports.push([token, status]));
    watcher.add(pidfd, 1);
    closeSync(pidfd);
    await until(() => reports.length > 0);
    watcher.close();
    assert.deepEqual(reports, [[1, null]]);
  });

  it('reports nothing after remove, but reaps its child', async () => {
    const reports: unknown[] = [];
    const watcher = new addon.ExitWatcher((token) => reports.push(token));
    const child = await start('sleep 0.05');
    watcher.add(child.pidfd, 1);
    watcher.remove(1);
    watcher.remove(1);
    // The token is free again at once.
    const second = await start('sleep 0.05');
    watcher.add(second.pidfd, 1);
    closeSync(child.pidfd);
    closeSync(second.pidfd);
    await until(() => reports.length > 0);
    await until(() => !existsSync(`/proc/${child.pid}`));
    await delay(50);
    watcher.close();
    assert.deepEqual(reports, [1]);
  });

  it('refuses a token in use', async () => {
    const watcher = new addon.ExitWatcher(() => undefined);
    const child = await start('sleep 0.01');
    watcher.add(child.pidfd, 1);
    assert.throws(() => {
      watcher.add(child.pidfd, 1);
    }, TypeError);
    watcher.remove(1);
    closeSync(child.pidfd);
    watcher.close();
  });

  it('closes twice, with reports on their way, and leaves no thread or descriptor', async () => {
    const before = [openDescriptors(), threads()] as const;
    for (let i = 0; i < 30; i += 1) {
      let closed = false;
      const watcher = new addon.ExitWatcher(() => {
        assert.ok(!closed, 'a report came after close');
      });
      for (let token = 0; token < 4; token += 1) {
        const child = await start('exit 0');
        watcher.add(child.pidfd, token);
        closeSync(child.pidfd);
      }
      if (i % 3 === 0) await delay(2);
      watcher.close();
      watcher.close();
      closed = true;
    }
    await delay(20);
    assert.ok(await settlesAt(openDescriptors, before[0]));
    assert.ok(await settlesAt(threads, before[1]));
  });

  // What follows ends a process of its own, so that an abort would be seen as its status.
  const program = (
    body: string,
  ): { status: number | null; signal: string | null; stdout: string; stderr: string } => {
    const result = spawnSync(
      process.execPath,
      [
        '--expose-gc',
        '-e',
        `const addon = require(${JSON.stringify(`${libexecDir()}/pvecri.node`)});
        const start = (script) => addon.spawn({ file: '/bin/sh', argv: ['sh', '-c', script], env: [], fds: [-1, -1, -1] });
        (async () => { ${body} })();`,
      ],
      { encoding: 'utf8', timeout: 20_000 },
    );
    return result;
  };

  it('does not keep a program alive, watched processes or not', () => {
    const result = program(`
      const watcher = new addon.ExitWatcher(() => undefined);
      watcher.add((await start('exec sleep 1')).pidfd, 1);
      console.log('end');`);
    assert.deepEqual(
      [result.status, result.signal, result.stdout],
      [0, null, 'end\n'],
      result.stderr,
    );
  });

  it('lets what its function throws become an uncaught exception', () => {
    const result = program(`
      process.on('uncaughtException', (error) => { console.log(error.message); watcher.close(); clearInterval(alive); });
      const watcher = new addon.ExitWatcher(() => { throw new Error('from the callback'); });
      const alive = setInterval(() => {}, 1000);
      watcher.add((await start('exit 0')).pidfd, 1);`);
    assert.deepEqual(
      [result.status, result.signal, result.stdout],
      [0, null, 'from the callback\n'],
      result.stderr,
    );
  });

  it('may be closed by its own function, and be collected unclosed', () => {
    const result = program(`
      const watcher = new addon.ExitWatcher(() => { watcher.close(); next(); });
      const alive = setInterval(() => {}, 1000);
      watcher.add((await start('exit 0')).pidfd, 1);
      async function next() {
        for (let i = 0; i < 50; i += 1) new addon.ExitWatcher(() => undefined).add((await start('exit 0')).pidfd, 1);
        setTimeout(() => {
          gc(); gc();
          setTimeout(() => { console.log(require('fs').readdirSync('/proc/self/task').length < 30); clearInterval(alive); }, 50);
        }, 50);
      }`);
    assert.deepEqual(
      [result.status, result.signal, result.stdout],
      [0, null, 'true\n'],
      result.stderr,
    );
  });

  it('survives process.exit with everything under way', () => {
    const result = program(`
      const watcher = new addon.ExitWatcher(() => undefined);
      const sweeper = new addon.CgroupSweeper();
      for (let i = 0; i < 20; i += 1) watcher.add((await start('exit 0')).pidfd, i);
      sweeper.sweep(new Float64Array(1)); addon.interfaceCounters(['/proc/self/ns/net']); addon.lxcState('/var/lib/lxc', 'none');
      addon.pinNamespaces({ net: '/nowhere/at/all' }).catch(() => undefined);
      process.exit(7);`);
    assert.deepEqual([result.status, result.signal], [7, null], result.stderr);
  });
});
