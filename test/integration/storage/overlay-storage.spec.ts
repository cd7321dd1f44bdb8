/** The overlay driver beyond the contract of all drivers, over images that were pulled. */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { parseContainerId } from '../../../src/core/ids.js';
import type { ImageRecord } from '../../../src/core/model.js';
import { loadAddon } from '../../../src/native/binding.js';
import { OverlayStorage } from '../../../src/storage/overlay-storage.js';
import { openImages, type OpenedImages } from '../../support/images.js';
import { buildImage, writeLayout, type ImageParts } from '../../support/oci-image.js';
import { file } from '../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

const id = parseContainerId('a'.repeat(64));

describe('overlay storage', () => {
  let temp: string;
  let images: OpenedImages;
  let storage: OverlayStorage;

  beforeEach(async () => {
    temp = makeTempFolder();
    images = await openImages(join(temp, 'images'));
    ({ storage } = images);
  });
  afterEach(() => {
    images.close();
    removeTempFolder(temp);
  });

  /** What the next start of the agent makes of the folders. */
  async function openStorage(): Promise<OverlayStorage> {
    const next = await OverlayStorage.open({
      root: join(temp, 'rootfs'),
      layersRoot: join(temp, 'images/layers'),
      addon: loadAddon(),
    });
    await next.loadLayers();
    return next;
  }

  async function pull(layers: ImageParts['layers']): Promise<ImageRecord> {
    const layout = join(temp, 'layout');
    writeLayout(layout, { it: buildImage({ layers }) });
    return images.store.pull(layout, null, {});
  }

  /** Calls `look` with a path to the merged root. */
  async function merged<T>(image: ImageRecord, look: (root: string) => T): Promise<T> {
    const fd = await storage.mount(id, image);
    try {
      return look(`/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  }

  it('keeps what a container writes apart from the layers, and counts it', async () => {
    const image = await pull([[file('a', 'layer')]]);
    await storage.prepare(id, image);
    assert.deepEqual(
      { ...(await storage.usage(id)), timestamp: 0n },
      {
        usedBytes: 0,
        inodesUsed: 0,
        timestamp: 0n,
      },
    );
    await merged(image, (root) => {
      writeFileSync(join(root, 'a'), 'container');
      mkdirSync(join(root, 'd'));
      writeFileSync(join(root, 'd/big'), Buffer.alloc(100_000, 1));
    });
    await merged(image, (root) => {
      assert.equal(readFileSync(join(root, 'a'), 'utf8'), 'container');
    });
    // A later agent has nothing in its cache.
    storage = await openStorage();
    const usage = await storage.usage(id);
    assert.equal(usage.inodesUsed, 3);
    assert.ok(usage.usedBytes >= 100_000 && usage.usedBytes < 200_000, `${usage.usedBytes}`);
  });

  it('lists, refuses a second one, and removes what is very deep', async () => {
    const image = await pull([[file('a')]]);
    await storage.prepare(id, image);
    await assert.rejects(storage.prepare(id, image), { kind: 'already-exists' });
    assert.deepEqual(await storage.list(), [id]);
    const upper = join(temp, 'rootfs', id, 'fs');
    const before = process.cwd();
    try {
      process.chdir(upper);
      for (let i = 0; i < 100; i += 1) {
        mkdirSync('x'.repeat(200));
        process.chdir('x'.repeat(200));
      }
    } finally {
      process.chdir(before);
    }
    assert.ok((await storage.usage(id)).inodesUsed > 10);
    await storage.remove(id);
    await storage.remove(id);
    assert.deepEqual(await storage.list(), []);
    assert.deepEqual(readdirSync(join(temp, 'rootfs/.trash')), []);
  });

  it('finishes a removal that was killed, and tells where it lies', async () => {
    mkdirSync(join(temp, 'rootfs/.trash', id, 'fs'), { recursive: true });
    storage = await openStorage();
    assert.equal(existsSync(join(temp, 'rootfs/.trash', id)), false);
    assert.ok(temp.startsWith(storage.mountpoint()));
  });

  it('says which layer is missing', async () => {
    const image = await pull([[file('a')]]);
    await images.store.remove(image.id);
    await assert.rejects(storage.prepare(id, image), {
      kind: 'not-found',
      message: /layer sha256:[0-9a-f]{64} is not there, pull its image again/,
    });
    assert.deepEqual(await storage.list(), []);
  });
});
