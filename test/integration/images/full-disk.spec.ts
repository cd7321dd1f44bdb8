/** A disk that fills, runs out of inodes or turns read-only at any step: a clear error, nothing left, and a retry that succeeds. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ImageId } from '../../../src/core/ids.js';
import { createRegistryOpener } from '../../../src/images/registry/source.js';
import { startDockerRegistry, push, type DockerRegistry } from '../../support/docker-registry.js';
import { unreferencedImageFiles } from '../../support/image-files.js';
import { openImages, type OpenedImages } from '../../support/images.js';
import { buildImage, writeLayout, type BuiltImage } from '../../support/oci-image.js';
import { file } from '../../support/tar.js';

describe('a disk that refuses, while images are pulled', function () {
  this.timeout(60_000);
  let temp: string;
  let disk: string;
  let images: OpenedImages;
  let registry: DockerRegistry;

  // Random data, so that a blob takes as much as its files; many files for the lack of inodes.
  const big = buildImage({
    layers: [
      [file('big', randomBytes(3 << 20))],
      [file('more', randomBytes(2 << 20))],
      Array.from({ length: 120 }, (_, at) => file(`f${at}`)),
    ],
  });
  const base = buildImage({ layers: [[file('base', 'base')]] });

  before(async () => {
    temp = `/dev/shm/pvecri-full-${process.pid}`;
    mkdirSync(temp);
    registry = await startDockerRegistry(temp);
    await push(registry.host, 'big', '1', big);
  });
  after(async () => {
    await registry.stop();
    rmSync(temp, { recursive: true, force: true });
  });

  async function mount(options: string): Promise<void> {
    disk = join(temp, 'disk');
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', disk]);
    images = await openImages(
      join(disk, 'images'),
      createRegistryOpener(() => ''),
    );
    await pull(base);
  }
  const remount = (options: string): void => {
    execFileSync('mount', ['-o', `remount,${options}`, disk]);
  };
  afterEach(() => {
    images.close();
    execFileSync('umount', ['--lazy', disk]);
    rmSync(disk, { recursive: true });
  });

  async function pull(image: BuiltImage): Promise<string> {
    const layout = join(temp, `layout-${image.id.slice(7, 17)}`);
    writeLayout(layout, { [`example.org/i${image.id.slice(7, 17)}:1`]: image });
    return (await images.store.pull(layout, null, {})).id;
  }
  const pullFromRegistry = async (): Promise<string> =>
    (await images.store.pull(`${registry.host}/big:1`, null, {})).id;
  const taken = (): { blocks: number; files: number } => {
    const { blocks, bfree, files, ffree } = statfsSync(disk);
    return { blocks: blocks - bfree, files: files - ffree };
  };
  /** As it was before, in memory and on disk, and again at the next start. */
  async function assertUntouched(before: ReturnType<typeof taken>): Promise<void> {
    assert.deepEqual(
      images.store.list().map(({ id }) => id),
      [base.id],
    );
    assert.equal(images.store.pullsUnderWay().length, 0);
    for (let i = 0; taken().blocks > before.blocks + 4 && i < 100; i += 1) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.ok(taken().blocks <= before.blocks + 4, `${taken().blocks} of ${before.blocks}`);
    assert.deepEqual(readdirSync(join(disk, 'images/tmp')), []);
    assert.deepEqual(readdirSync(join(disk, 'images/layers/.tmp')), []);
  }
  const says = (error: unknown, kind: string, text: RegExp): boolean => {
    const { kind: actual, message } = error as { kind: string; message: string };
    assert.equal(actual, kind, message);
    assert.match(message, text);
    return true;
  };

  it('is told, at whatever step it fills up, and takes the image when there is room', async () => {
    // A blob takes 3 MiB, its files another 3: at each of these something else does not fit.
    for (const size of ['600k', '2m', '4m', '6m', '8m', '10m']) {
      await mount(`size=${size}`);
      const before = taken();
      for (const attempt of [() => pull(big), pullFromRegistry]) {
        await assert.rejects(attempt(), (error) =>
          says(error, 'resource-exhausted', /(blob|layer|image) sha256:.*no space left on device/i),
        );
        await assertUntouched(before);
      }
      remount('size=40m');
      assert.equal(await pullFromRegistry(), big.id);
      assert.deepEqual(unreferencedImageFiles(disk), []);
      if (size === '10m') break;
      images.close();
      execFileSync('umount', ['--lazy', disk]);
      rmSync(disk, { recursive: true });
    }
  });

  it('is told when the room for the last steps is missing: documents, records', async () => {
    await mount('size=40m');
    // All layers are there, so that nothing but documents and the record have to be written.
    const twin = buildImage({
      layers: [[file('base', 'base')]],
      // Documents of some blocks each.
      config: { Labels: { long: 'x'.repeat(9000) } },
    });
    const fill = join(disk, 'fill');
    const before = taken();
    for (const spare of [0, 1, 2, 3]) {
      const { bavail, bsize } = statfsSync(disk);
      writeFileSync(fill, Buffer.alloc((bavail - spare) * bsize));
      await assert.rejects(pull(twin), (error) =>
        says(error, 'resource-exhausted', /no space left on device/i),
      );
      rmSync(fill);
      await assertUntouched(before);
    }
    assert.equal(await pull(twin), twin.id);
    assert.deepEqual(unreferencedImageFiles(disk), []);
  });

  it('is told when there are no inodes left', async () => {
    await mount('size=40m,nr_inodes=100');
    const before = taken();
    await assert.rejects(pull(big), (error) =>
      says(error, 'resource-exhausted', /layer sha256:.*no space left on device/i),
    );
    await assertUntouched(before);
    for (let i = 0; taken().files > before.files + 1 && i < 100; i += 1) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.ok(taken().files <= before.files + 1, `${taken().files} of ${before.files}`);
    remount('nr_inodes=1000');
    assert.equal(await pull(big), big.id);
  });

  it('is told when it is read-only; what is there stays usable and cannot be removed', async () => {
    await mount('size=40m');
    remount('ro');
    await assert.rejects(pull(big), (error) =>
      says(error, 'failed-precondition', /read-only file system/i),
    );
    await assert.rejects(images.store.remove(base.id as ImageId), (error) =>
      says(error, 'failed-precondition', /read-only file system/i),
    );
    assert.equal(images.store.find(base.id)?.id, base.id);
    remount('rw');
    assert.equal(await pull(big), big.id);
    await images.store.remove(base.id as ImageId);
    assert.equal(images.store.find(base.id), undefined);
    assert.deepEqual(unreferencedImageFiles(dirname(join(disk, 'images'))), []);
  });
});
