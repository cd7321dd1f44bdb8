/** The contract's part about root filesystems. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ContainerId } from '../../../src/core/ids.js';
import { containerId, type DriverBench } from '../../support/driver-bench.js';
import { getAttribute, setAttribute } from '../../support/xattr.js';
import { patient } from '../../support/patience.js';
import { file, folder, hardlink, opaque, symlink, whiteout } from '../../support/tar.js';
import type { DriverTraits } from './driver-contract.js';

/** What a layer may have of its own: folders, journals, spare blocks. */
const OVERHEAD_BYTES = 1 << 20;
const OVERHEAD_INODES = 20;

export function rootfsPromises(bench: DriverBench, traits: DriverTraits): void {
  const id = containerId(1);
  const other = containerId(2);

  for (const count of traits.layerCounts ?? [0, 1, 30, 127]) {
    it(`merges ${count} layers, the last on top`, async () => {
      const layers = Array.from({ length: count }, (_, i) => [
        file('all', `layer ${i}`),
        file(`of-${i}`, `${i}`),
      ]);
      const image = await bench.image(...layers);
      await bench.driver.prepare(id, image);
      await bench.merged(id, image, (root) => {
        assert.equal(namesIn(root).length, count === 0 ? 0 : count + 1);
        if (count > 0) assert.equal(readFileSync(join(root, 'all'), 'utf8'), `layer ${count - 1}`);
        writeFileSync(join(root, 'all'), 'changed');
        assert.equal(readFileSync(join(root, 'all'), 'utf8'), 'changed');
      });
    });
  }

  it('takes an image that has a layer twice', async () => {
    const twice = [file('a', '1')];
    const image = await bench.image(twice, [whiteout('a'), file('b')], twice);
    await bench.driver.prepare(id, image);
    await bench.merged(id, image, (root) => {
      assert.deepEqual(namesIn(root), ['a', 'b']);
    });
  });

  it('merges whiteouts, opaque folders, links, and a folder that becomes a file', async () => {
    const image = await bench.image(
      [
        folder('keep/'),
        file('keep/a', '1'),
        file('keep/b', '1'),
        folder('hidden/'),
        file('hidden/old', '1'),
        folder('becomes-file/'),
        file('becomes-file/x'),
        file('becomes-folder'),
        file('gone', '1'),
        symlink('link', '/etc/passwd'),
        file('one', 'linked'),
        hardlink('two', 'one'),
      ],
      [
        folder('keep/'),
        whiteout('keep/a'),
        opaque('hidden'),
        file('hidden/new', '2'),
        file('becomes-file', '2'),
        folder('becomes-folder/'),
        file('becomes-folder/x', '2'),
        whiteout('gone'),
      ],
      [file('keep/c', '3')],
    );
    await bench.driver.prepare(id, image);
    await bench.merged(id, image, (root) => {
      const names = 'becomes-file becomes-folder hidden keep link one two'.split(' ');
      assert.deepEqual(namesIn(root), names);
      assert.deepEqual(namesIn(join(root, 'keep')), ['b', 'c']);
      assert.deepEqual(namesIn(join(root, 'hidden')), ['new']);
      assert.deepEqual(namesIn(join(root, 'becomes-folder')), ['x']);
      assert.equal(readFileSync(join(root, 'becomes-file'), 'utf8'), '2');
      assert.equal(readlinkSync(join(root, 'link')), '/etc/passwd');
      assert.equal(lstatSync(join(root, 'one')).ino, lstatSync(join(root, 'two')).ino);
    });
  });

  it('lets whiteouts be about lower layers alone', async () => {
    const image = await bench.image(
      [folder('d/'), file('d/old'), folder('e/'), file('e/old'), folder('f/'), file('f/old')],
      [
        // Before and after the folder that takes the place, and with the folder only implied.
        whiteout('d'),
        folder('d/'),
        file('d/new'),
        folder('e/'),
        file('e/new'),
        whiteout('e'),
        whiteout('f'),
        file('f/new'),
        file('g', 'stays'),
        whiteout('g'),
      ],
    );
    await bench.driver.prepare(id, image);
    await bench.merged(id, image, (root) => {
      for (const name of ['d', 'e', 'f']) assert.deepEqual(namesIn(join(root, name)), ['new']);
      assert.equal(readFileSync(join(root, 'g'), 'utf8'), 'stays');
    });
  });

  it('honours an opaque root folder', async () => {
    const image = await bench.image([file('below')], [file('.wh..wh..opq'), file('above')]);
    await bench.driver.prepare(id, image);
    await bench.merged(id, image, (root) => {
      assert.deepEqual(namesIn(root), ['above']);
    });
  });

  it('gives owner, mode and times of files and of the root folder as the layers say', async () => {
    const image = await bench.image(
      [
        folder('./', { mode: 0o711, uid: 5, gid: 6 }),
        file('set-id', 'x', { mode: 0o4755, uid: 7, gid: 8, mtime: 1_000_000_000 }),
      ],
      [file('second')],
    );
    await bench.driver.prepare(id, image);
    await bench.merged(id, image, (root) => {
      const ofRoot = lstatSync(`${root}/.`);
      assert.deepEqual([ofRoot.mode & 0o7777, ofRoot.uid, ofRoot.gid], [0o711, 5, 6]);
      const ofFile = lstatSync(join(root, 'set-id'));
      assert.deepEqual([ofFile.mode & 0o7777, ofFile.uid, ofFile.gid], [0o4755, 7, 8]);
      assert.equal(ofFile.mtimeMs, 1_000_000_000_000);
    });
    const silent = await bench.image([file('a')]);
    await bench.driver.prepare(other, silent);
    await bench.merged(other, silent, (root) => {
      const { mode, uid, gid } = lstatSync(`${root}/.`);
      assert.deepEqual([mode & 0o7777, uid, gid], [0o755, 0, 0]);
    });
  });

  it('lets a container do to its files what one does to files', async () => {
    const image = await bench.image([folder('d/'), file('d/a', 'a'), file('b', 'b')]);
    await bench.driver.prepare(id, image);
    await bench.merged(id, image, (root) => {
      rmSync(join(root, 'd'), { recursive: true });
      mkdirSync(join(root, 'd'));
      assert.deepEqual(namesIn(join(root, 'd')), []);
      renameSync(join(root, 'b'), join(root, 'd/c'));
      chmodSync(join(root, 'd/c'), 0o600);
      chownSync(join(root, 'd/c'), 10, 11);
      linkSync(join(root, 'd/c'), join(root, 'e'));
      symlinkSync('e', join(root, 'f'));
      setAttribute(join(root, 'e'), 'user.pvecri', 'v');
      writeFileSync(join(root, 'e'), 'more', { flag: 'a' });
    });
    await bench.merged(id, image, (root) => {
      assert.deepEqual(namesIn(root), ['d', 'e', 'f']);
      const { mode, uid, gid } = lstatSync(join(root, 'd/c'));
      assert.deepEqual([mode & 0o7777, uid, gid], [0o600, 10, 11]);
      assert.equal(readFileSync(join(root, 'f'), 'utf8'), 'bmore');
      assert.equal(getAttribute(join(root, 'd/c'), 'user.pvecri')?.toString(), 'v');
    });
  });

  it('keeps containers apart from each other and from the layers', async () => {
    const image = await bench.image([file('a', 'layer')]);
    await bench.driver.prepare(id, image);
    await bench.driver.prepare(other, image);
    const [one, two] = [await bench.mount(id, image), await bench.mount(other, image)];
    writeFileSync(`/proc/self/fd/${one}/a`, 'one');
    assert.equal(readFileSync(`/proc/self/fd/${two}/a`, 'utf8'), 'layer');
    rmSync(`/proc/self/fd/${two}/a`);
    assert.equal(readFileSync(`/proc/self/fd/${one}/a`, 'utf8'), 'one');
    bench.unmount(one);
    bench.unmount(two);
    await bench.driver.remove(other);
    await bench.driver.prepare(other, image);
    await bench.merged(other, image, (root) => {
      assert.equal(readFileSync(join(root, 'a'), 'utf8'), 'layer');
    });
  });

  it('keeps what was written over unmount, and over a kill of the agent', async () => {
    const image = await bench.image([file('a', 'layer')]);
    await bench.driver.prepare(id, image);
    const held = await bench.mount(id, image);
    writeFileSync(`/proc/self/fd/${held}/new`, 'written');
    rmSync(`/proc/self/fd/${held}/a`);
    bench.unmount(held);
    for (let life = 0; life < 2; life += 1) {
      await bench.merged(id, image, (root) => {
        assert.deepEqual(namesIn(root), ['new']);
        assert.equal(readFileSync(join(root, 'new'), 'utf8'), 'written');
      });
      await bench.reopen();
      assert.deepEqual(await bench.driver.list(), [id]);
    }
  });

  it('leaves a mount as it is when the agent is killed', async () => {
    const image = await bench.image([file('a', 'layer')]);
    await bench.driver.prepare(id, image);
    const held = await bench.mount(id, image);
    await bench.reopen();
    writeFileSync(`/proc/self/fd/${held}/new`, 'after');
    bench.unmount(held);
    await bench.merged(id, image, (root) => {
      assert.equal(readFileSync(join(root, 'new'), 'utf8'), 'after');
    });
  });

  it('lists what is there, refuses a second one, and removes once or twice', async () => {
    const image = await bench.image([file('a')]);
    assert.deepEqual(await bench.driver.list(), []);
    await bench.driver.prepare(id, image);
    await bench.driver.prepare(other, image);
    await bench.merged(id, image, (root) => {
      writeFileSync(join(root, 'mine'), '');
    });
    await assert.rejects(bench.driver.prepare(id, image), { kind: 'already-exists' });
    await bench.merged(id, image, (root) => {
      assert.deepEqual(namesIn(root), ['a', 'mine']);
    });
    assert.deepEqual((await bench.driver.list()).sort(), [id, other]);
    await bench.driver.remove(id);
    await bench.driver.remove(id);
    assert.deepEqual(await bench.driver.list(), [other]);
    await bench.reopen();
    assert.deepEqual(await bench.driver.list(), [other]);
    await assert.rejects(bench.driver.mount(id, image));
  });

  it('makes, mounts and removes several at once', async () => {
    const image = await bench.image([file('a', 'x')]);
    const ids = Array.from({ length: 6 }, (_, i) => containerId(i + 16));
    await Promise.all(ids.map((one) => bench.driver.prepare(one, image)));
    assert.deepEqual((await bench.driver.list()).sort(), ids);
    await Promise.all(
      ids.map((one) =>
        bench.merged(one, image, (root) => {
          writeFileSync(join(root, 'id'), one);
        }),
      ),
    );
    await Promise.all(ids.map((one) => bench.driver.remove(one)));
    assert.deepEqual(await bench.driver.list(), []);
  });

  it('is refused while a mount is held, or removes then; afterwards it removes in any case', async () => {
    const image = await bench.image([file('a', 'layer')]);
    await bench.driver.prepare(id, image);
    const held = await bench.mount(id, image);
    try {
      await bench.driver.remove(id);
      assert.deepEqual(await bench.driver.list(), []);
    } catch (error) {
      assert.equal((error as { kind?: string }).kind, 'failed-precondition');
      assert.deepEqual(await bench.driver.list(), [id]);
      assert.equal(readFileSync(`/proc/self/fd/${held}/a`, 'utf8'), 'layer');
    }
    bench.unmount(held);
    await bench.driver.remove(id);
    assert.deepEqual(await bench.driver.list(), []);
    await bench.driver.prepare(id, image);
  });

  it('removes folders that are deeper than a path can be', async () => {
    const image = await bench.image([file('a')]);
    await bench.driver.prepare(id, image);
    await bench.merged(id, image, (root) => {
      const before = process.cwd();
      try {
        process.chdir(root);
        for (let i = 0; i < 40; i += 1) {
          mkdirSync('x'.repeat(200));
          process.chdir('x'.repeat(200));
        }
      } finally {
        process.chdir(before);
      }
    });
    await bench.driver.remove(id);
    await bench.reopen();
    assert.deepEqual(await bench.driver.list(), []);
  });

  it('says which layer is missing, and leaves nothing', async () => {
    const layers = [[file('a')], [file('b')]];
    const image = await bench.image(...layers);
    const top = bench.keys(layers).at(-1);
    assert.ok(top);
    await bench.driver.removeLayer(top.key);
    await assert.rejects(bench.driver.prepare(id, image), {
      kind: 'not-found',
      message: /layer sha256:[0-9a-f]{64} is not there, pull its image again/,
    });
    assert.deepEqual(await bench.driver.list(), []);
  });

  it('counts what a container has written, and what it has removed again', async () => {
    const image = await bench.image([file('a', randomBytes(3 << 20))]);
    await bench.driver.prepare(id, image);
    const fresh = await bench.driver.usage(id);
    assert.ok(fresh.usedBytes < OVERHEAD_BYTES, `${fresh.usedBytes} bytes`);
    assert.ok(fresh.inodesUsed < OVERHEAD_INODES, `${fresh.inodesUsed} inodes`);
    const fd = await bench.mount(id, image);
    const root = `/proc/self/fd/${fd}`;
    mkdirSync(join(root, 'd'));
    for (let i = 0; i < 30; i += 1) writeFileSync(join(root, `d/${i}`), randomBytes(100_000));
    await usageIs(id, (usage) => usage.usedBytes >= 3_000_000 && usage.inodesUsed >= 31);
    const full = await bench.driver.usage(id);
    assert.ok(full.usedBytes < 3_000_000 + OVERHEAD_BYTES, `${full.usedBytes} bytes`);
    assert.ok(full.inodesUsed < 31 + OVERHEAD_INODES, `${full.inodesUsed} inodes`);
    const age = BigInt(Date.now()) * 1_000_000n - full.timestamp;
    assert.ok(age >= -1_000_000_000n && age < 60_000_000_000n, `${age} ns old`);
    rmSync(join(root, 'd'), { recursive: true });
    await usageIs(id, (usage) => usage.usedBytes < OVERHEAD_BYTES && usage.inodesUsed < 31);
  });

  it('says on which file system it lies', () => {
    const mountpoint = bench.driver.mountpoint();
    const [here, above] = [statSync(mountpoint), statSync(join(mountpoint, '..'))];
    assert.ok(here.dev !== above.dev || here.ino === above.ino, mountpoint);
  });

  /** A driver may count in the background, and a disk may give back late. */
  async function usageIs(
    container: ContainerId,
    wanted: (usage: { usedBytes: number; inodesUsed: number }) => boolean,
  ): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      const usage = await bench.driver.usage(container);
      if (wanted(usage)) return;
      assert.ok(attempt < patient(100), `${usage.usedBytes} bytes, ${usage.inodesUsed} inodes`);
      await delay(100);
      // The next agent has nothing in its memory.
      await bench.reopen();
    }
  }
}

/** But what mkfs makes. */
function namesIn(path: string): string[] {
  return readdirSync(path)
    .filter((name) => name !== 'lost+found')
    .sort();
}
