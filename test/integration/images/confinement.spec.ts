/** What the unpack helper could do at worst, and that it ends with the agent. */
import assert from 'node:assert/strict';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { libexecDir, loadAddon } from '../../../src/native/binding.js';
import { ProcessSpawner, type SpawnedProcess } from '../../../src/native/process.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

const NAMESPACES = ['user', 'mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup'];

describe('confinement of the unpack helper', () => {
  const addon = loadAddon();
  let temp: string;
  let spawner: ProcessSpawner;
  let helper: SpawnedProcess;
  let report: { read: number; write: number };
  let blob: { read: number; write: number };
  let unpacking: string;

  /** The helper at work on a blob that does not come. */
  beforeEach(async () => {
    temp = makeTempFolder();
    mkdirSync(join(temp, 'fs'));
    spawner = new ProcessSpawner(addon);
    [report, blob] = [addon.pipe(), addon.pipe()];
    const target = openSync(join(temp, 'fs'), 'r');
    const diffId = `sha256:${'0'.repeat(64)}`;
    helper = await spawner.spawn({
      file: join(libexecDir(), 'pvecri-unpack'),
      argv: ['pvecri-unpack', '--diff-id', diffId],
      env: [],
      fds: [blob.read, -1, -1, target, report.write],
    });
    for (const fd of [target, report.write, blob.read]) closeSync(fd);
    unpacking = await childOf(helper.pid);
    await until(() => status('Threads') === '3');
  });
  afterEach(async () => {
    closeSync(blob.write);
    await helper.exited;
    closeSync(helper.pidfd);
    spawner.close();
    removeTempFolder(temp);
  });

  async function until(condition: () => boolean): Promise<void> {
    for (let i = 0; i < 500 && !condition(); i += 1) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.ok(condition());
  }

  async function childOf(pid: number): Promise<string> {
    const children = (): string => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    await until(() => children() !== '');
    return children();
  }

  function status(key: string): string {
    const line = new RegExp(`^${key}:\\s*(.*)$`, 'm');
    return line.exec(readFileSync(`/proc/${unpacking}/status`, 'utf8'))?.[1] ?? '';
  }

  it('is alone in its namespaces, with the target for a root and nothing else', () => {
    for (const name of NAMESPACES) {
      const [its, ours] = [unpacking, 'self'].map((pid) => readlinkSync(`/proc/${pid}/ns/${name}`));
      assert.notEqual(its, ours, name);
    }
    const mounts = readFileSync(`/proc/${unpacking}/mountinfo`, 'utf8').trim().split('\n');
    assert.equal(mounts.length, 1);
    assert.match(mounts[0] ?? '', / \/ rw,nosuid,nodev,noexec/);
    assert.match(mounts[0] ?? '', new RegExp(`${temp.slice(4)}/fs / `));
    const folder = `/proc/${unpacking}/fd`;
    const files = readdirSync(folder).map((fd) => readlinkSync(join(folder, fd)));
    const plain = files.filter((file) => !/^pipe:|^\/dev\/null$|^anon_inode/.test(file));
    assert.deepEqual(plain, ['/']);
    closeSync(report.read);
  });

  it('has five capabilities, in its own user namespace, and can gain none', () => {
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETFCAP
    const mask = (1n << 0n) | (1n << 1n) | (1n << 3n) | (1n << 4n) | (1n << 31n);
    for (const set of ['CapEff', 'CapPrm']) assert.equal(BigInt(`0x${status(set)}`), mask, set);
    assert.equal(BigInt(`0x${status('CapInh')}`), 0n);
    assert.equal(status('NoNewPrivs'), '1');
    // SECCOMP_MODE_FILTER; how many there are depends on where the test itself runs.
    assert.equal(status('Seccomp'), '2');
    const map = readFileSync(`/proc/${unpacking}/uid_map`, 'utf8').trim().split(/\s+/);
    assert.deepEqual(map, readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/));
    closeSync(report.read);
  });

  it('has bounds for memory, descriptors, file size and core dumps', () => {
    const limits = readFileSync(`/proc/${unpacking}/limits`, 'utf8');
    const soft = (name: string): number =>
      Number(new RegExp(`^${name} +(\\d+)`, 'm').exec(limits)?.[1]);
    assert.equal(soft('Max address space'), 768 << 20);
    assert.equal(soft('Max open files'), 256);
    assert.equal(soft('Max file size'), 64 * 2 ** 30);
    assert.equal(soft('Max core file size'), 0);
    closeSync(report.read);
  });

  it('ends when nobody reads its report any more', async () => {
    closeSync(report.read);
    const ended = await helper.exited;
    assert.deepEqual(ended, { code: 137, signal: null });
    await until(() => !readdirSync('/proc').includes(unpacking));
  });

  it('takes its child along when it is killed', async () => {
    addon.pidfdSignal(helper.pidfd, 9);
    assert.deepEqual(await helper.exited, { code: null, signal: 9 });
    await until(() => !readdirSync('/proc').includes(unpacking));
    closeSync(report.read);
  });
});
