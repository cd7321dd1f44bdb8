// Order, way back and refusals of a change of limits, over plain files.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { planChange, writeSetting } from '../../../src/cgroup/cgroup-change.js';
import { RuntimeError } from '../../../src/core/errors.js';
import type { CgroupChange } from '../../../src/core/ports/cgroup.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('planChange', () => {
  let root: string;

  beforeEach(() => {
    root = makeTempFolder();
    mkdirSync(join(root, 'c/lxc'), { recursive: true });
  });
  afterEach(() => {
    removeTempFolder(root);
  });

  const has = (files: Record<string, string>, path = '/c') => {
    for (const [file, text] of Object.entries(files)) writeFileSync(join(root, path, file), text);
  };
  const plan = (...changes: ([string, string] | CgroupChange)[]) =>
    planChange(
      changes.map((c) => (Array.isArray(c) ? { path: '/c', file: c[0], value: c[1] } : c)),
      (path) => join(root, path),
    );
  const short = (writes: { path: string; file: string; value: string }[]) =>
    writes.map(({ path, file, value }) => `${path}/${file}=${value}`);

  it('raises swap before it lowers memory, and memory before it lowers swap', async () => {
    has({ 'memory.max': '100\n', 'memory.swap.max': '10\n', 'memory.current': '5\n' });
    const down = await plan(['memory.max', '50'], ['memory.swap.max', '60']);
    assert.deepEqual(short(down.writes), ['/c/memory.swap.max=60', '/c/memory.max=50']);
    assert.deepEqual(short(down.undo), ['/c/memory.max=100', '/c/memory.swap.max=10']);
    const up = await plan(['memory.swap.max', '0'], ['memory.max', 'max']);
    assert.deepEqual(short(up.writes), ['/c/memory.max=max', '/c/memory.swap.max=0']);
    const both = await plan(['memory.max', '50'], ['memory.swap.max', '5']);
    assert.deepEqual(short(both.writes), ['/c/memory.max=50', '/c/memory.swap.max=5']);
  });

  it('lowers a leaf before what holds it, and raises it after', async () => {
    for (const path of ['/c', '/c/lxc']) has({ 'cpu.max': '50000 100000\n' }, path);
    const to = (value: string): CgroupChange[] =>
      ['/c', '/c/lxc'].map((path) => ({ path, file: 'cpu.max', value }));
    const down = await plan(...to('20000 100000'));
    assert.deepEqual(
      down.writes.map(({ path }) => path),
      ['/c/lxc', '/c'],
    );
    const up = await plan(...to('max 100000'));
    assert.deepEqual(
      up.writes.map(({ path }) => path),
      ['/c', '/c/lxc'],
    );
    // A longer period with the same quota is less.
    assert.equal((await plan(...to('50000 200000'))).writes[0]?.path, '/c/lxc');
  });

  it('writes nothing that is so already, and passes over a leaf that is not there', async () => {
    has({ 'cpu.weight': '39\n' });
    const leaf = { path: '/c/lxc', file: 'cpu.weight', value: '5' };
    const nothing = await plan(['cpu.weight', '39'], { ...leaf, optional: true });
    assert.deepEqual(nothing, { writes: [], undo: [] });
    await assert.rejects(plan(leaf), /cannot change cpu.weight of cgroup \/c\/lxc/);
  });

  it('refuses a memory limit that the kernel could keep by killing alone', async () => {
    has({ 'memory.max': 'max\n', 'memory.current': '300\n', 'memory.reclaim': '' });
    await assert.rejects(
      plan(['memory.max', '200']),
      (error) =>
        error instanceof RuntimeError &&
        error.kind === 'failed-precondition' &&
        /memory limit 200 of cgroup \/c is below the 300 bytes in use/.test(error.message),
    );
    assert.equal(readFileSync(join(root, 'c/memory.reclaim'), 'utf8'), '100', 'reclaim was tried');
    assert.equal(readFileSync(join(root, 'c/memory.max'), 'utf8'), 'max\n');
    assert.equal((await plan(['memory.max', '300'])).writes.length, 1);
  });

  it('knows what a device had before, also when that was nothing', async () => {
    has({ 'io.max': '8:0 rbps=5 wbps=max riops=max wiops=max\n', 'cpuset.cpus': '\n' });
    const { undo } = await plan(
      ['io.max', '8:16 rbps=7'],
      ['io.max', '8:0 rbps=6'],
      ['cpuset.cpus', '0'],
    );
    assert.deepEqual(short(undo), [
      '/c/cpuset.cpus=',
      '/c/io.max=8:0 rbps=5 wbps=max riops=max wiops=max',
      '/c/io.max=8:16 rbps=max wbps=max riops=max wiops=max',
    ]);
    await writeSetting(join(root, 'c'), '/c', { file: 'cpuset.cpus', value: '' });
    assert.equal(readFileSync(join(root, 'c/cpuset.cpus'), 'utf8'), '\n');
  });
});
