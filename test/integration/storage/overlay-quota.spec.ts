/** What the overlay driver leaves in the quotas of a file system, and what it finds there. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ImageRecord } from '../../../src/core/model.js';
import { loadAddon, type ProjectUsage } from '../../../src/native/binding.js';
import { OverlayStorage } from '../../../src/storage/overlay-storage.js';
import { patient } from '../../support/patience.js';
import { containerId, imageOf } from '../../support/driver-bench.js';
import {
  makeFilesystem,
  type FilesystemKind,
  type TestFilesystem,
} from '../../support/loop-filesystem.js';
import { makeUserNamespace } from '../../support/user-namespace.js';

const LIMIT = 8 << 20;
const OURS = [0x5000_0000, 0x5fff_ffff] as const;
const id = containerId(1);
const other = containerId(2);

for (const kind of ['ext4 with quotas', 'xfs with quotas'] as FilesystemKind[]) {
  describe(`the overlay driver on ${kind}`, () => {
    const addon = loadAddon();
    const image: ImageRecord = imageOf([]);
    let filesystem: TestFilesystem | undefined;
    let path: string;

    before(function () {
      const made = makeFilesystem(kind, 64 << 20);
      if (typeof made === 'string') {
        console.log(`    skipped: ${made}`);
        this.skip();
      } else filesystem = made;
    });
    after(() => {
      filesystem?.destroy();
    });
    beforeEach(() => {
      path = mkdtempSync(join(filesystem?.path ?? '', 'place-'));
    });
    afterEach(async () => {
      const storage = await open();
      for (const one of await storage.list()) await storage.remove(one);
      assert.deepEqual(await limited(), [], 'a limit was left');
      for (let attempt = 0; (await projects()).length > 0; attempt += 1) {
        assert.ok(attempt < patient(100), 'a project was left');
        await delay(50);
      }
      rmSync(path, { recursive: true });
    });

    function open(sizeLimitBytes = LIMIT): Promise<OverlayStorage> {
      const [root, layersRoot] = [join(path, 'rootfs'), join(path, 'layers')];
      return OverlayStorage.open({ root, layersRoot, addon, sizeLimitBytes });
    }

    function projects(): Promise<ProjectUsage[]> {
      return addon.listProjects(path, ...OURS);
    }

    /** XFS takes its time to count what has been removed. */
    async function limited(): Promise<ProjectUsage[]> {
      return (await projects()).filter(({ limitBytes }) => limitBytes > 0);
    }

    async function write(storage: OverlayStorage, bytes: number): Promise<void> {
      const fd = await storage.mount(id, image);
      try {
        writeFileSync(`/proc/self/fd/${fd}/file`, Buffer.alloc(bytes, 1), { flush: true });
      } finally {
        closeSync(fd);
      }
    }

    it('gives each container a project with the limit, and takes it away with it', async () => {
      const storage = await open();
      await storage.prepare(id, image);
      await storage.prepare(other, image);
      const made = await projects();
      assert.deepEqual(
        made.map(({ limitBytes }) => limitBytes),
        [LIMIT, LIMIT],
      );
      const ids = [];
      for (const container of [id, other]) {
        const project = await addon.projectOf(join(path, 'rootfs', container));
        for (const name of ['fs', 'work']) {
          assert.equal(await addon.projectOf(join(path, 'rootfs', container, name)), project);
        }
        ids.push(project);
      }
      assert.deepEqual(
        made.map((project) => project.id),
        ids.sort((a, b) => a - b),
      );
      await storage.remove(id);
      assert.equal((await limited()).length, 1);
      await (await open()).remove(other);
      assert.deepEqual(await limited(), []);
    });

    it('answers exactly, at once, and without a walk', async () => {
      const storage = await open();
      await storage.prepare(id, image);
      await storage.prepare(other, image);
      const before = await storage.usage(id);
      await write(storage, 2 << 20);
      const usages = await Promise.all([storage.usage(id), storage.usage(other)]);
      const written = usages[0].usedBytes - before.usedBytes;
      // And where the file's blocks are: one block.
      assert.ok(written >= 2 << 20 && written <= (2 << 20) + 8192, `${written} bytes`);
      assert.ok(usages[0].inodesUsed > before.inodesUsed);
      assert.ok(usages[1].usedBytes < 1 << 20);
    });

    it('counts without a limit, and keeps no limit that is not asked for', async () => {
      const storage = await open(0);
      await storage.prepare(id, image);
      await write(storage, 2 * LIMIT);
      const [project] = await projects();
      assert.equal(project?.limitBytes, 0);
      assert.ok((await storage.usage(id)).usedBytes >= 2 * LIMIT);
      await storage.remove(id);
    });

    it('counts the files of a container that was made without a project', async () => {
      let storage = await open();
      mkdirSync(join(path, 'rootfs', id, 'fs/d'), { recursive: true });
      assert.equal((await storage.usage(id)).inodesUsed, 1);
      // Nor does it take one that somebody else has made for one of its own.
      await addon.setProject(join(path, 'rootfs', id), 5);
      storage = await open();
      assert.equal((await storage.usage(id)).inodesUsed, 1);
      await storage.remove(id);
    });

    it('takes away the limits that a killed agent has left, and those alone', async () => {
      const storage = await open();
      await storage.prepare(id, image);
      const [kept] = await projects();
      // Killed after the folder of another had gone, and before its limit had.
      await addon.setProjectLimit(path, 0x5000_0001, LIMIT);
      await addon.setProjectLimit(path, 0x4000_0001, LIMIT);
      await open();
      assert.deepEqual(await limited(), [kept]);
      const [foreign] = await addon.listProjects(path, 0x4000_0001, 0x4000_0001);
      assert.equal(foreign?.limitBytes, LIMIT);
      await addon.setProjectLimit(path, 0x4000_0001, 0);
      await storage.remove(id);
    });

    it('finishes a removal that was killed, limit included', async () => {
      const storage = await open();
      await storage.prepare(id, image);
      const root = join(path, 'rootfs');
      mkdirSync(join(root, '.trash'), { recursive: true });
      renameSync(join(root, id), join(root, '.trash', id));
      await open();
      assert.deepEqual(await limited(), []);
    });

    it('keeps a container in a user namespace in its project, and only such a one', async () => {
      // FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR; the project is the fourth of the words.
      const script = `import fcntl, struct
file = open('file', 'w')
words = list(struct.unpack('5I8x', fcntl.ioctl(file, 0x801c581f, bytes(28))))
words[3] = 7
fcntl.ioctl(file, 0x401c5820, struct.pack('5I8x', *words))`;
      const namespace = await makeUserNamespace(300_000);
      const mounts: number[] = [];
      try {
        const storage = await open();
        const options = { userNamespace: namespace.fd };
        await storage.prepare(id, image, options);
        await storage.prepare(other, image);
        mounts.push(await storage.mount(id, image, options), await storage.mount(other, image));
        const [folder = -1, plain = -1] = mounts;
        assert.throws(
          () => namespace.run(`python3 -c "${script}"`, { folder }),
          /Invalid argument|not permitted/,
        );
        execFileSync('python3', ['-c', script], { cwd: `/proc/${process.pid}/fd/${plain}` });
      } finally {
        for (const fd of mounts) closeSync(fd);
        namespace.close();
      }
    });

    it('works below a folder that is a project of the administrator', async () => {
      await addon.setProject(path, 7);
      const storage = await open();
      await storage.prepare(id, image);
      await write(storage, 1 << 20);
      assert.ok((await storage.usage(id)).usedBytes >= 1 << 20);
      await storage.remove(id);
      assert.deepEqual(await storage.list(), []);
    });
  });
}

describe('the overlay driver and a limit that cannot be kept', () => {
  const addon = loadAddon();

  for (const [kind, remedy] of [
    ['btrfs', /lies on btrfs .*put the folder "root" on ext4 or XFS with project quotas/],
    ['ext4', /lies on ext4 .*tune2fs -O project,quota \/dev\/loop\d+.*option prjquota/],
    ['xfs', /lies on xfs .*option prjquota/],
  ] as const) {
    it(`refuses to start on ${kind}, and says what to do`, async function () {
      const filesystem = makeFilesystem(kind, 64 << 20);
      if (typeof filesystem === 'string') this.skip();
      const [root, layersRoot] = ['rootfs', 'layers'].map((name) =>
        join(filesystem.path, name),
      ) as [string, string];
      try {
        await assert.rejects(OverlayStorage.open({ root, layersRoot, addon, sizeLimitBytes: 1 }), {
          kind: 'failed-precondition',
          message: remedy,
        });
        await assert.rejects(
          OverlayStorage.open({ root, layersRoot, addon, sizeLimitBytes: 1 }),
          /rootfs\.size_limit cannot be kept: .* or set rootfs\.size_limit to "0"$/,
        );
        await OverlayStorage.open({ root, layersRoot, addon });
      } finally {
        filesystem.destroy();
      }
    });
  }
});
