import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { loadAddon } from '../../../src/native/binding.js';
import { openDescriptors, settlesAt } from '../../support/descriptors.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

const CGROUPS = ['', ...readdirSync('/sys/fs/cgroup')];

describe('containers that are not ours', () => {
  const addon = loadAddon();
  const name = `pvecri-test-${process.pid}`;
  let lxcpath: string;
  /** What liblxc leaves behind for good (lxc-start, cgroup v1 and v2). */
  let pivots: string[];

  before(function () {
    if (!existsSync('/usr/bin/lxc-start') || !existsSync('/bin/busybox')) this.skip();
    lxcpath = makeTempFolder();
    const rootfs = join(lxcpath, name, 'rootfs');
    for (const folder of ['bin', 'proc', 'sys', 'dev']) {
      mkdirSync(join(rootfs, folder), { recursive: true });
    }
    copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'));
    writeFileSync(
      join(lxcpath, name, 'config'),
      `lxc.uts.name = ${name}
lxc.rootfs.path = dir:${rootfs}
lxc.net.0.type = empty
lxc.init.cmd = /bin/busybox sleep 300
lxc.tty.max = 0
lxc.console.path = none
lxc.apparmor.profile = unchanged
`,
    );
    pivots = CGROUPS.map((hierarchy) => join('/sys/fs/cgroup', hierarchy, 'lxc.pivot')).filter(
      (pivot) => !existsSync(pivot),
    );
    execFileSync('lxc-start', ['-P', lxcpath, '-n', name, '-d']);
  });

  after(() => {
    execFileSync('lxc-stop', ['-P', lxcpath, '-n', name, '-k']);
    for (const pivot of pivots) if (existsSync(pivot)) rmdirSync(pivot);
    removeTempFolder(lxcpath);
  });

  it('tells state and init', async () => {
    const descriptors = openDescriptors();
    const { state, initPid } = await addon.lxcState(lxcpath, name);
    assert.equal(state, 'RUNNING');
    assert.match(readFileSync(`/proc/${initPid}/cmdline`, 'utf8'), /sleep/);
    assert.ok(await settlesAt(openDescriptors, descriptors));
  });

  it('freezes and thaws', async () => {
    await addon.lxcFreeze(lxcpath, name, true);
    assert.equal((await addon.lxcState(lxcpath, name)).state, 'FROZEN');
    await addon.lxcFreeze(lxcpath, name, false);
    assert.equal((await addon.lxcState(lxcpath, name)).state, 'RUNNING');
  });

  it('is STOPPED when nobody answers for it, and cannot be frozen then', async () => {
    assert.deepEqual(await addon.lxcState(lxcpath, 'none'), { state: 'STOPPED', initPid: 0 });
    assert.deepEqual(await addon.lxcState('/nowhere', 'none'), { state: 'STOPPED', initPid: 0 });
    await assert.rejects(addon.lxcFreeze(lxcpath, 'none', true), { code: 'ESRCH', path: 'none' });
  });

  it('refuses a name that is a path', () => {
    for (const bad of ['../x', 'a/b', '.', '', 'a b', 'x'.repeat(65)]) {
      assert.throws(() => addon.lxcState(lxcpath, bad), TypeError);
    }
  });

  it('gives a monitor that hangs up after some seconds, and bounds how many are waited for', async () => {
    const { initPid } = await addon.lxcState(lxcpath, name);
    const monitor = Number(readFileSync(`/proc/${initPid}/stat`, 'utf8').split(' ')[3]);
    process.kill(monitor, 'SIGSTOP');
    try {
      const codes = await Promise.all(
        Array.from({ length: 20 }, () =>
          addon.lxcState(lxcpath, name).then(
            () => 'answered',
            (error: unknown) => (error as NodeJS.ErrnoException).code,
          ),
        ),
      );
      assert.equal(codes.filter((code) => code === 'ETIMEDOUT').length, 16);
      assert.equal(codes.filter((code) => code === 'EAGAIN').length, 4);
    } finally {
      process.kill(monitor, 'SIGCONT');
    }
    for (let attempt = 0; attempt < 100; attempt += 1) {
      await delay(20);
      const state = await addon.lxcState(lxcpath, name).catch(() => null);
      if (state?.state === 'RUNNING') return;
    }
    assert.fail('it is not answered again');
  });
});
