import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Cgroup2Tree } from '../../../src/cgroup/cgroup-tree.js';
import { type ErrorKind, RuntimeError } from '../../../src/core/errors.js';
import { loadAddon } from '../../../src/native/binding.js';
import { ProcessSpawner, type SpawnedProcess } from '../../../src/native/process.js';
import { openDescriptors, settlesAt } from '../../support/descriptors.js';

describe('Cgroup2Tree', () => {
  const addon = loadAddon();
  const top = `/pvecri-test-${process.pid}`;
  let spawner: ProcessSpawner;
  let tree: Cgroup2Tree;
  let descriptors: number;

  beforeEach(() => {
    descriptors = openDescriptors();
    spawner = new ProcessSpawner(addon);
    tree = new Cgroup2Tree({ addon });
  });

  afterEach(async () => {
    await tree.kill(top);
    await tree.remove(top);
    tree.close();
    tree.close();
    spawner.close();
    assert.ok(await settlesAt(openDescriptors, descriptors), 'a descriptor was left open');
  });

  const folder = (path: string): string => join(tree.root, path);

  async function startIn(path: string, script: string): Promise<SpawnedProcess> {
    const cgroupFd = openSync(folder(path), 'r');
    const child = await spawner.spawn({
      file: '/bin/sh',
      argv: ['sh', '-c', script],
      env: ['PATH=/usr/bin:/bin'],
      fds: [-1, -1, -1],
      cgroupFd,
    });
    closeSync(cgroupFd);
    closeSync(child.pidfd);
    return child;
  }

  const ofKind = (kind: ErrorKind) => (error: unknown) =>
    error instanceof RuntimeError && error.kind === kind;

  it('stands on the cgroup v2 mount and knows its controllers', () => {
    assert.ok(existsSync(join(tree.root, 'cgroup.controllers')));
    assert.deepEqual(
      [...tree.controllers].join(' '),
      readFileSync(join(tree.root, 'cgroup.controllers'), 'utf8').trim(),
    );
  });

  it('makes moves between cgroups quick, and moves nobody', async () => {
    const own = (): string => /^0::.*$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[0] ?? '';
    const before = own();
    await tree.make(`${top}/a`);
    const child = await startIn(`${top}/a`, 'sleep 100');
    // The second time finds what the first one left running, the last one finds it over.
    for (const pause of [0, 10, 300]) {
      await delay(pause);
      await Promise.all([tree.expectMoves(), tree.expectMoves()]);
      const took = [1, 2, 3, 4, 5].map(() => {
        const start = performance.now();
        writeFileSync(join(folder(`${top}/a`), 'cgroup.procs'), `${child.pid}`);
        return performance.now() - start;
      });
      // A grace period is never over so soon.
      assert.ok(Math.min(...took) < 2, `${took.join(' ')} ms`);
    }
    assert.equal(own(), before);
  });

  it('makes a folder with its parents, and again, with the controllers down to its parent', async () => {
    await tree.make(`${top}/a/b`);
    await tree.make(`${top}/a/b`);
    assert.deepEqual(await tree.children(top), ['a']);
    assert.deepEqual(await tree.children(`${top}/a`), ['b']);
    for (const path of [top, `${top}/a`]) {
      const enabled = readFileSync(join(folder(path), 'cgroup.subtree_control'), 'utf8').trim();
      assert.deepEqual(new Set(enabled.split(' ').filter(Boolean)), tree.controllers);
    }
    assert.equal(
      readFileSync(join(folder(`${top}/a/b`), 'cgroup.subtree_control'), 'utf8').trim(),
      '',
      'a leaf may hold processes',
    );
  });

  it('says what to do where a level holds processes', async function () {
    if (tree.controllers.size === 0) this.skip();
    await tree.make(`${top}/a`);
    const child = await startIn(`${top}/a`, 'exec sleep 60');
    await assert.rejects(
      tree.make(`${top}/a/b`),
      (error) => ofKind('failed-precondition')(error) && /it holds processes/.test(String(error)),
    );
    process.kill(child.pid, 'SIGKILL');
    await child.exited;
    await tree.make(`${top}/a/b`);
  });

  it('makes many in one parent at once', async () => {
    await Promise.all(Array.from({ length: 50 }, (_, i) => tree.make(`${top}/pod/c${i}`)));
    assert.equal((await tree.children(`${top}/pod`)).length, 50);
  });

  it('makes while another removes, or says what is in the way', async () => {
    for (let round = 0; round < 30; round += 1) {
      await Promise.all([
        tree.make(`${top}/x/y/z`),
        tree.remove(`${top}/x`).catch(() => undefined),
      ]);
    }
    await tree.make(`${top}/x/y/z`);
    assert.ok(existsSync(folder(`${top}/x/y/z`)));
  });

  it('has no children where nothing is', async () => {
    assert.deepEqual(await tree.children(`${top}/none`), []);
  });

  it('kills a whole tree: forking, frozen, ignoring signals', async () => {
    await Promise.all([tree.make(`${top}/a/b`), tree.make(`${top}/c`)]);
    const scripts = [
      'trap "" TERM HUP INT; while :; do sleep 0.01; done',
      'sleep 60 & setsid sleep 60 & sleep 60',
      'while :; do (sleep 1 &) ; sleep 0.01; done',
    ];
    const children = await Promise.all(
      scripts.flatMap((script) => [startIn(`${top}/c`, script), startIn(`${top}/a/b`, script)]),
    );
    writeFileSync(join(folder(`${top}/a/b`), 'cgroup.freeze'), '1');
    await tree.kill(top);
    assert.equal(readFileSync(join(folder(`${top}/c`), 'cgroup.procs'), 'utf8'), '');
    for (const child of children) assert.deepEqual(await child.exited, { code: null, signal: 9 });
    await tree.remove(top);
    assert.ok(!existsSync(folder(top)));
  });

  it('kills what is empty or absent', async () => {
    await tree.kill(`${top}/none`);
    await tree.make(`${top}/a`);
    await tree.kill(`${top}/a`);
  });

  it('removes depth first, and again', async () => {
    await Promise.all([tree.make(`${top}/a/b/c`), tree.make(`${top}/a/d`), tree.make(`${top}/e`)]);
    await tree.remove(top);
    await tree.remove(top);
    assert.ok(!existsSync(folder(top)));
  });

  it('removes right after the last process ended', async () => {
    for (let round = 0; round < 20; round += 1) {
      await tree.make(`${top}/a`);
      await startIn(`${top}/a`, 'exec sleep 60');
      await tree.kill(`${top}/a`);
      await tree.remove(`${top}/a`);
    }
  });

  it('kills nothing when it removes', async () => {
    await tree.make(`${top}/a`);
    const child = await startIn(`${top}/a`, 'exec sleep 60');
    await assert.rejects(tree.remove(top), ofKind('failed-precondition'));
    process.kill(child.pid, 0);
    assert.ok(existsSync(folder(`${top}/a`)));
  });

  for (const path of ['', 'a', '/../x', '/a/../../etc', '/a//b', '/a/', '/./a', '/a\n']) {
    it(`refuses the path ${JSON.stringify(path)}`, async () => {
      await assert.rejects(tree.make(path), ofKind('invalid-argument'));
      await assert.rejects(tree.kill(path), ofKind('invalid-argument'));
      await assert.rejects(tree.remove(path), ofKind('invalid-argument'));
      await assert.rejects(tree.children(path), ofKind('invalid-argument'));
      assert.throws(() => {
        tree.watch('n', path);
      }, ofKind('invalid-argument'));
    });
  }

  it('refuses to kill, remove or watch the root', async () => {
    await assert.rejects(tree.kill('/'), ofKind('invalid-argument'));
    await assert.rejects(tree.remove('/'), ofKind('invalid-argument'));
    assert.ok((await tree.children('/')).length >= 0);
  });

  describe('stats', () => {
    it('has the figures of each watched cgroup', async () => {
      await tree.make(`${top}/a`);
      await tree.make(`${top}/b`);
      tree.watch('web', `${top}/a`);
      tree.watch('db', `${top}/b`);
      const child = await startIn(`${top}/a`, 'i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done');
      await child.exited;
      const before = BigInt(Date.now() - 1000) * 1_000_000n;
      const stats = await tree.stats(['web', 'db']);
      assert.deepEqual([...stats.keys()].sort(), ['db', 'web']);
      const web = stats.get('web')!;
      assert.ok(web.timestamp > before && web.timestamp < before + 60_000_000_000n);
      assert.ok(web.cpuUsageMicros! > 1000, `cpu ${String(web.cpuUsageMicros)}`);
      assert.equal(stats.get('db')!.cpuUsageMicros, 0);
      // What has no controller has no figure; what has one has it.
      assert.equal(web.memoryBytes !== undefined, tree.controllers.has('memory'));
      assert.equal('memoryLimitBytes' in web, false);
      assert.equal('processes' in web, false, 'nobody asked for them');
      assert.equal(web.cpuPressure !== undefined, existsSync(join(folder(top), 'cpu.pressure')));
      const { some, full } = web.cpuPressure ?? {};
      if (some && full) {
        for (const line of [some, full]) {
          for (const average of [line.avg10, line.avg60, line.avg300]) {
            assert.ok(average >= 0 && average <= 100, String(average));
          }
        }
        assert.ok(Number.isSafeInteger(some.total) && full.total <= some.total);
      }
      assert.deepEqual([...(await tree.stats(['db', 'none'])).keys()], ['db']);
    });

    it('counts the processes of all that is below, where it is asked to', async () => {
      await tree.make(`${top}/pod/a/lxc`);
      await tree.make(`${top}/pod/b`);
      tree.watch('pod', `${top}/pod`, { countProcesses: true });
      const count = async () => (await tree.stats(['pod'])).get('pod')?.processes;
      assert.equal(await count(), 0);
      await startIn(`${top}/pod/a/lxc`, 'exec sleep 60');
      await startIn(`${top}/pod/b`, 'exec sleep 60');
      await startIn(`${top}/pod/b`, 'exec sleep 60');
      assert.equal(await count(), 3);
      await tree.kill(`${top}/pod/b`);
      assert.equal(await count(), 1);
    });

    it('leaves out what is removed, unwatched or was never there', async () => {
      await tree.make(`${top}/a`);
      await tree.make(`${top}/b`);
      tree.watch('a', `${top}/a`);
      tree.watch('b', `${top}/b`);
      tree.watch('none', `${top}/none`);
      const all = ['a', 'b', 'none'];
      assert.deepEqual([...(await tree.stats(all)).keys()].sort(), ['a', 'b']);
      await tree.remove(`${top}/a`);
      tree.unwatch('b');
      tree.unwatch('b');
      assert.equal((await tree.stats(all)).size, 0);
      // A new cgroup of the same name is another one: it is watched anew.
      await tree.make(`${top}/a`);
      assert.equal((await tree.stats(all)).size, 0);
      tree.watch('a', `${top}/a`);
      assert.equal((await tree.stats(all)).size, 1);
    });

    it('keeps no descriptor of a removed cgroup', async () => {
      const before = openDescriptors();
      const names = Array.from({ length: 20 }, (_, i) => `c${i}`);
      for (let i = 0; i < 20; i += 1) {
        await tree.make(`${top}/c${i}`);
        tree.watch(`c${i}`, `${top}/c${i}`);
      }
      await tree.stats(names);
      assert.ok(openDescriptors() > before);
      await tree.remove(top);
      await tree.stats(names);
      assert.ok(await settlesAt(openDescriptors, before));
    });

    it('answers many who ask at once, while cgroups come and go', async () => {
      await tree.make(`${top}/stays`);
      tree.watch('stays', `${top}/stays`);
      const answers = Array.from({ length: 200 }, async (_, i) => {
        if (i % 10 === 0) {
          await tree.make(`${top}/c${i}`);
          tree.watch(`c${i}`, `${top}/c${i}`);
          // Watched before it was asked for: it must be there.
          assert.ok((await tree.stats([`c${i}`])).has(`c${i}`));
          await tree.remove(`${top}/c${i}`);
          return tree.stats(['stays', `c${i}`]);
        }
        return tree.stats(['stays']);
      });
      for (const answer of await Promise.all(answers)) assert.ok(answer.has('stays'));
    });

    it('is refused after close', async () => {
      const other = new Cgroup2Tree({ addon });
      other.close();
      await assert.rejects(other.stats([]), TypeError);
    });
  });
});
