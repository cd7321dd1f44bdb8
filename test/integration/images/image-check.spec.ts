/** Damage to the store: found at the start or by a check, mended without a registry, or one image quarantined. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { ImageCheck } from '../../../src/core/image-check.js';
import type { ImageId } from '../../../src/core/ids.js';
import {
  layerFiles,
  openImages,
  type ImagesOptions,
  type OpenedImages,
} from '../../support/images.js';
import { buildImage, writeLayout, type BuiltImage } from '../../support/oci-image.js';
import { file, folder, opaque, symlink, whiteout } from '../../support/tar.js';

describe('damage to the image store', () => {
  let temp: string;
  let images: OpenedImages;
  const opened: OpenedImages[] = [];

  const shared = [
    folder('d/'),
    file('d/shared', 'shared'),
    // A parent nobody names, a whiteout, an opaque folder: what has no time of its own in the archive.
    file('deep/er/x', 'x'),
    symlink('link', 'd/shared'),
    whiteout('gone'),
    opaque('d'),
  ];
  const one = buildImage({ layers: [shared, [file('one', 'one')]] });
  const two = buildImage({ layers: [shared, [file('two', 'two')]] });

  beforeEach(async () => {
    // In memory: nothing here depends on a disk.
    temp = `/dev/shm/pvecri-check-${process.pid}`;
    mkdirSync(temp);
    images = await open();
  });
  afterEach(async () => {
    for (const { store, close } of opened.splice(0)) {
      // What it measures later would be the next test's.
      await store.close();
      close();
    }
    rmSync(temp, { recursive: true, force: true });
  });

  /** Nothing is measured unless asked for: the stores of one test have one folder. */
  async function open(options: ImagesOptions = {}): Promise<OpenedImages> {
    const next = await openImages(join(temp, 'images'), undefined, undefined, options);
    opened.push(next);
    return next;
  }
  const layout = (image: BuiltImage): string => join(temp, `layout-${image.id.slice(7, 17)}`);
  async function pull(image: BuiltImage, name: string): Promise<void> {
    writeLayout(layout(image), { [`example.org/${name}`]: image });
    assert.equal((await images.store.pull(layout(image), null, {})).id, image.id);
  }
  const measuring = (): Promise<OpenedImages> => open({ quietMs: 50 });
  /** Waits until new layers are measured, as `measuring` stores do. */
  async function measured(): Promise<void> {
    for (const diffId of inFolder('layers').filter((name) => !name.startsWith('.'))) {
      const path = join(temp, 'images/layers', diffId, 'layer.json');
      for (let i = 0; !readFileSync(path, 'utf8').includes('fingerprint'); i += 1) {
        assert.ok(i < 1000, 'is not measured');
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  }
  const inFolder = (name: string): string[] => readdirSync(join(temp, 'images', name)).sort();
  const blobPath = (digest: string): string => join(temp, 'images/blobs/sha256', digest.slice(7));
  const layerBlob = (image: BuiltImage, at: number): string => image.blobs[1 + at]?.digest ?? '';
  const filesOf = (image: BuiltImage, at: number): string =>
    layerFiles(join(temp, 'images'), image.diffIds[at] ?? '');
  const listed = (): string[] =>
    images.store
      .list()
      .map(({ id }) => id)
      .sort();
  const outcomes = ({ findings }: ImageCheck) =>
    findings.map(({ what, outcome }) => `${what} ${outcome}`);
  const removeLayer = (image: BuiltImage, at: number): void => {
    rmSync(join(filesOf(image, at), '..'), { recursive: true });
  };

  describe('at the start', () => {
    beforeEach(async () => {
      await pull(one, 'one:1');
      await pull(two, 'two:1');
    });

    it('makes a layer that is gone anew from its blob', async () => {
      removeLayer(one, 1);
      images = await open();
      assert.deepEqual(listed(), [two.id]);
      assert.match(images.store.unreadable()[0]?.reason ?? '', /layer sha256:.* is missing/);
      assert.equal(images.store.dueCheck(), 'known');
      rmSync(layout(one), { recursive: true });
      const check = await images.store.check({ depth: 'known' });
      assert.deepEqual(outcomes(check), ['image mended']);
      assert.deepEqual(check.findings[0]?.images, [{ id: one.id, names: ['example.org/one:1'] }]);
      assert.deepEqual(listed(), [one.id, two.id].sort());
      assert.equal(images.store.find('example.org/one:1')?.id, one.id);
      assert.equal(readFileSync(join(filesOf(one, 1), 'one'), 'utf8'), 'one');
      assert.deepEqual(images.store.unreadable(), []);
      assert.equal(images.store.dueCheck(), null);
    });

    it('makes a layer anew whose own record is damaged', async () => {
      writeFileSync(join(filesOf(one, 0), '../layer.json'), '');
      images = await open();
      assert.deepEqual(listed(), []);
      assert.equal((await images.store.check({ depth: 'known' })).findings.length, 2);
      assert.deepEqual(listed(), [one.id, two.id].sort());
      assert.deepEqual(
        inFolder('layers').filter((name) => name.startsWith('.')),
        ['.tmp'],
      );
    });

    it('quarantines one image of which a blob is gone, cut short or empty', async () => {
      for (const [digest, damage] of [
        [one.manifest.digest, rmSync],
        [
          one.id,
          (path: string) => {
            truncateSync(path, 10);
          },
        ],
        [one.manifest.digest, truncateSync],
      ] as const) {
        damage(blobPath(digest));
        images = await open();
        assert.deepEqual(listed(), [two.id]);
        const [found] = images.store.unreadable();
        assert.match(
          found?.reason ?? '',
          new RegExp(`blob ${digest} is missing or of another size`),
        );
        assert.equal(found?.path, join(temp, 'images/quarantine', `${one.id.slice(7)}.json`));
        // It stays known, and what it has alone is given back.
        images = await open();
        assert.match(images.store.unreadable()[0]?.reason ?? '', /is missing or of another size/);
        assert.deepEqual(inFolder('layers').length, 3);
        await pull(one, 'one:1');
        assert.deepEqual(listed(), [one.id, two.id].sort());
        assert.deepEqual(images.store.unreadable(), []);
        assert.deepEqual(inFolder('quarantine'), []);
      }
    });

    it('quarantines an image whose layer is gone and its blob too', async () => {
      removeLayer(one, 1);
      rmSync(blobPath(layerBlob(one, 1)));
      images = await open();
      assert.deepEqual(listed(), [two.id]);
      assert.equal(images.store.dueCheck(), null);
      await pull(one, 'one:1');
      assert.equal(readFileSync(join(filesOf(one, 1), 'one'), 'utf8'), 'one');
    });

    it('keeps an image that has lost nothing but a kept blob, and fetches that with the next pull', async () => {
      rmSync(blobPath(layerBlob(one, 1)));
      images = await open();
      assert.deepEqual(listed(), [one.id, two.id].sort());
      await pull(one, 'one:1');
      assert.ok(existsSync(blobPath(layerBlob(one, 1))));
    });

    it('removes nothing that a container stands on, nor anything before it is known what does', async () => {
      const inUse = () => new Set([one.id as ImageId]);
      // Of an agent before the blobs were kept: nothing can be made anew.
      rmSync(join(temp, 'images/records', `${one.id.slice(7)}.json`));
      writeFileSync(join(temp, 'images/records', `${two.id.slice(7)}.json`), 'garbage');
      images = await open({ inUse });
      assert.deepEqual(listed(), []);
      // Its config says which layers it has.
      assert.deepEqual(
        inFolder('layers').filter((name) => !name.startsWith('.')),
        one.diffIds.map((diffId) => diffId.slice(7)).sort(),
      );
      truncateSync(blobPath(one.id));
      images = await open({ inUse });
      assert.equal(inFolder('layers').length, 3, 'with nobody to ask, all stay');
      images = await open();
      assert.deepEqual(inFolder('layers'), ['.tmp']);
      assert.deepEqual(inFolder('blobs/sha256'), []);
    });
  });

  it('finds a changed byte in a blob, and quarantines or marks what needs it', async () => {
    await pull(one, 'one:1');
    await pull(two, 'two:1');
    const flip = (digest: string): void => {
      const bytes = readFileSync(blobPath(digest));
      bytes[5] = (bytes[5] ?? 0) ^ 1;
      writeFileSync(blobPath(digest), bytes);
    };
    flip(layerBlob(one, 1));
    const check = await images.store.check({ depth: 'listing' });
    assert.deepEqual(outcomes(check), ['blob incomplete']);
    assert.deepEqual([check.images, check.blobs, check.layers], [2, 7, 3]);
    assert.match(check.findings[0]?.reason ?? '', /its content has digest sha256:/);
    assert.deepEqual(listed(), [one.id, two.id].sort());
    assert.ok(!existsSync(blobPath(layerBlob(one, 1))));

    flip(one.id);
    assert.deepEqual(outcomes(await images.store.check({ depth: 'listing' })), [
      'blob quarantined',
    ]);
    assert.deepEqual(listed(), [two.id]);
    assert.match(images.store.unreadable()[0]?.reason ?? '', /blob sha256:.* is damaged/);
    await pull(one, 'one:1');
    assert.deepEqual(outcomes(await images.store.check({ depth: 'content' })), []);
  });

  it('finds files that are not what was unpacked, and unpacks them again', async () => {
    images = await measuring();
    await pull(one, 'one:1');
    await measured();
    const shared = (): string => join(filesOf(one, 0), 'd/shared');
    assert.deepEqual((await images.store.check({ depth: 'listing' })).findings, []);
    const damages: (() => void)[] = [
      () => {
        truncateSync(shared());
      },
      () => {
        rmSync(shared());
      },
      () => {
        writeFileSync(join(filesOf(one, 0), 'more'), '');
      },
      () => {
        rmSync(join(filesOf(one, 0), 'gone'));
      },
      () => {
        rmSync(filesOf(one, 0), { recursive: true });
      },
    ];
    for (const damage of damages) {
      damage();
      const check = await images.store.check({ depth: 'listing' });
      assert.deepEqual(outcomes(check), ['image mended']);
      assert.match(
        check.findings[0]?.reason ?? '',
        /layer sha256:.* is damaged: its files (are not|cannot)/,
      );
      assert.equal(readFileSync(shared(), 'utf8'), 'shared');
      assert.deepEqual(listed(), [one.id]);
      await measured();
    }
    // The same size, the same time: nothing but its content tells.
    const { atime, mtime } = statSync(shared());
    writeFileSync(shared(), 'SHARED');
    utimesSync(shared(), atime, mtime);
    assert.deepEqual((await images.store.check({ depth: 'listing' })).findings, []);
    assert.deepEqual(outcomes(await images.store.check({ depth: 'content' })), ['image mended']);
    assert.equal(readFileSync(shared(), 'utf8'), 'shared');
    assert.deepEqual((await images.store.check({ depth: 'content' })).findings, []);
  });

  it('quarantines what it cannot make anew, and mends it with the next pull', async () => {
    images = await measuring();
    await pull(one, 'one:1');
    await pull(two, 'two:1');
    await measured();
    rmSync(join(filesOf(one, 1), 'one'));
    truncateSync(blobPath(layerBlob(one, 1)), 20);
    const check = await images.store.check({ depth: 'listing' });
    assert.deepEqual(outcomes(check), ['blob incomplete', 'image quarantined']);
    assert.match(check.findings[1]?.reason ?? '', /cannot be made anew: its blob is not kept/);
    assert.deepEqual(listed(), [two.id]);
    await pull(one, 'one:1');
    assert.equal(readFileSync(join(filesOf(one, 1), 'one'), 'utf8'), 'one');
    assert.deepEqual((await images.store.check({ depth: 'content' })).findings, []);
  });

  it('leaves the files of a damaged layer to the containers that stand on it', async () => {
    let inUse = new Set([one.id as ImageId]);
    images = await open({ inUse: () => inUse, quietMs: 50 });
    await pull(one, 'one:1');
    await measured();
    rmSync(join(filesOf(one, 0), 'd/shared'));
    await images.store.check({ depth: 'listing' });
    assert.equal(inFolder('layers/.retired').length, 1);
    images = await open({ inUse: () => inUse });
    assert.equal(inFolder('layers/.retired').length, 1);
    inUse = new Set();
    await images.store.remove(one.id as ImageId);
    assert.deepEqual(inFolder('layers'), ['.tmp']);
  });

  it('mends what it has found, though nobody wants it to look any further', async () => {
    await pull(one, 'one:1');
    await pull(two, 'two:1');
    removeLayer(one, 1);
    images = await open();
    assert.deepEqual(listed(), [two.id]);
    truncateSync(blobPath(layerBlob(two, 1)), 20);
    const enough = new AbortController();
    const check = images.store.check({
      depth: 'content',
      enough: enough.signal,
      onFinding: ({ what }) => {
        if (what === 'blob') enough.abort(new Error('enough'));
      },
    });
    await assert.rejects(check, /^Error: enough$/);
    assert.deepEqual(listed(), [one.id, two.id].sort());
    assert.equal(readFileSync(join(filesOf(one, 1), 'one'), 'utf8'), 'one');
  });

  it('is not forgotten when the agent ends before it is mended', async () => {
    await pull(one, 'one:1');
    const path = join(filesOf(one, 1), 'one');
    const { atime, mtime } = statSync(path);
    writeFileSync(path, 'ONE');
    utimesSync(path, atime, mtime);
    const end = new AbortController();
    const check = images.store.check({ depth: 'content', signal: end.signal });
    const watching = setInterval(() => {
      if (images.store.unreadable().length > 0) end.abort(new Error('the agent stops'));
    });
    await assert.rejects(check, /the agent stops/).finally(() => {
      clearInterval(watching);
    });
    images = await open();
    assert.deepEqual(listed(), []);
    assert.equal(images.store.dueCheck(), 'known');
    assert.deepEqual(outcomes(await images.store.check({ depth: 'known' })), ['image mended']);
    assert.equal(readFileSync(path, 'utf8'), 'one');
  });

  it('is looked for after an unclean end of the host alone, until a check has ended', async () => {
    const due = async (bootId: string): Promise<string | null> => {
      images = await open({ bootId });
      return images.store.dueCheck();
    };
    assert.equal(await due('boot-1'), null, 'the agent was killed');
    assert.equal(await due('boot-2'), 'listing');
    assert.equal(await due('boot-2'), 'listing', 'killed in the check');
    assert.equal(await due('boot-3'), 'listing');
    await images.store.check({ depth: 'listing', gentle: true });
    assert.equal(await due('boot-3'), null);
    await images.store.close();
    assert.equal(await due('boot-4'), null, 'stopped in order');
  });

  it('costs a start little to look for', async () => {
    // What 200 images of 5 layers each have, with blobs of a byte.
    const root = join(temp, 'many');
    const hex = (n: number): string => n.toString(16).padStart(64, '0');
    for (const name of ['records', 'blobs/sha256', 'layers'])
      mkdirSync(join(root, name), { recursive: true });
    const config = {
      user: '',
      env: ['A=1'],
      entrypoint: [],
      cmd: [],
      workingDir: '',
      volumes: [],
      stopSignal: '',
      labels: [],
    };
    for (let n = 0; n < 200; n += 1) {
      const ids = Array.from({ length: 5 }, (_, at) => hex(1000 + n * 5 + at));
      const blobs = [hex(10_000 + n), hex(20_000 + n)];
      const kept = ids.map((_, at) => hex(30_000 + n * 5 + at));
      for (const blob of [...blobs, ...kept]) writeFileSync(join(root, 'blobs/sha256', blob), 'x');
      for (const id of ids) {
        mkdirSync(join(root, 'layers', id, 'fs'), { recursive: true });
        writeFileSync(
          join(root, 'layers', id, 'layer.json'),
          JSON.stringify({
            version: 1,
            diffId: `sha256:${id}`,
            bytes: 1,
            inodes: 1,
            rootOpaque: false,
            rootOwner: null,
            listing: { bytes: 1, inodes: 1, fingerprint: '0' },
          }),
        );
      }
      const digests = (of: string[]): string[] => of.map((each) => `sha256:${each}`);
      const record = {
        version: 1,
        id: `sha256:${blobs[0] ?? ''}`,
        repoTags: [`example.org/${n}:1`],
        repoDigests: [],
        size: 1,
        layers: digests(ids),
        config,
        createdAt: '',
        pulledAt: '0',
        blobs: digests(blobs),
        layerBlobs: digests(kept),
        blobSizes: digests([...blobs, ...kept]).map((each) => [each, 1]),
        sequence: n,
      };
      writeFileSync(join(root, 'records', `${blobs[0] ?? ''}.json`), JSON.stringify(record));
    }
    const before = process.cpuUsage();
    const many = await openImages(root);
    // Not the time that others took of the processors.
    const { user, system } = process.cpuUsage(before);
    const milliseconds = (user + system) / 1000;
    opened.push(many);
    assert.equal(many.store.list().length, 200);
    console.log(`      ${milliseconds.toFixed(0)} ms`);
    assert.ok(milliseconds < 1000, `${milliseconds} ms`);
  });
});
