/** The store over time: sharing, crashes, damage, full disks. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { ImageId } from '../../../src/core/ids.js';
import type { ImageRecord } from '../../../src/core/model.js';
import type { PullUnderWay } from '../../../src/core/pull-progress.js';
import { createRegistryOpener } from '../../../src/images/registry/source.js';
import { HttpServer } from '../../support/http-server.js';
import { openImages, type OpenedImages } from '../../support/images.js';
import { buildImage, writeLayout, type BuiltImage } from '../../support/oci-image.js';
import { file, folder } from '../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('image store', () => {
  let temp: string;
  let images: OpenedImages;
  const opened: OpenedImages[] = [];

  beforeEach(async () => {
    temp = makeTempFolder();
    images = await open();
  });
  afterEach(() => {
    for (const { close } of opened.splice(0)) close();
    removeTempFolder(temp);
  });

  /** What the next start of the agent makes of the folder. */
  async function open(): Promise<OpenedImages> {
    const next = await openImages(
      join(temp, 'images'),
      createRegistryOpener(() => ''),
    );
    opened.push(next);
    return next;
  }

  const one = buildImage({ layers: [[file('shared')], [file('one')]] });
  const two = buildImage({ layers: [[file('shared')], [file('two')]] });
  const inFolder = (name: string): string[] =>
    readdirSync(join(temp, 'images', name))
      .filter((each) => each !== '.tmp')
      .sort();
  const hexes = (digests: string[]): string[] => digests.map((digest) => digest.slice(7)).sort();
  const allBlobs = ({ manifest, blobs }: BuiltImage): string[] =>
    [manifest, ...blobs].map(({ digest }) => digest);
  const recordPath = (id: string): string => join(temp, 'images/records', `${id.slice(7)}.json`);

  async function pull(image: BuiltImage, name: string): Promise<ImageRecord> {
    const layout = join(temp, `layout-${name.replace(':', '-')}`);
    writeLayout(layout, { [`example.org/${name}`]: image });
    return images.store.pull(layout, null, {});
  }

  it('finds everything again', async () => {
    const pulled = [await pull(one, 'one:1'), await pull(two, 'two:1'), await pull(one, 'alias:2')];
    const again = (await open()).store;
    assert.equal(again.list().length, 2);
    assert.equal(pulled[2]?.id, one.id);
    assert.deepEqual(again.find('example.org/alias:2')?.repoTags, [
      'example.org/one:1',
      'example.org/alias:2',
    ]);
    assert.deepEqual(again.unreadable(), []);
    const usage = await again.usage();
    assert.equal(usage.inodesUsed, 3 + 4 + 3);
    assert.ok(usage.usedBytes > 3 * 4096);
    assert.ok(temp.startsWith(usage.mountpoint));
    assert.deepEqual(
      await images.store.usage().then(({ usedBytes }) => usedBytes),
      usage.usedBytes,
    );
  });

  it('keeps the layers that another image needs', async () => {
    await pull(one, 'one:1');
    await pull(two, 'two:1');
    assert.equal(inFolder('layers').length, 3);
    await images.store.remove(one.id as ImageId);
    await images.store.remove(one.id as ImageId);
    assert.deepEqual(inFolder('layers'), hexes(two.diffIds));
    assert.deepEqual(inFolder('blobs/sha256'), hexes(allBlobs(two)));
    assert.deepEqual(inFolder('records'), [`${two.id.slice(7)}.json`]);
    await images.store.remove(two.id as ImageId);
    for (const name of ['layers', 'blobs/sha256', 'records', 'tmp']) {
      assert.deepEqual(inFolder(name), [], name);
    }
  });

  describe('after a crash', () => {
    it('removes what no record needs, and what was under way', async () => {
      await pull(one, 'one:1');
      await pull(two, 'two:1');
      rmSync(recordPath(two.id));
      mkdirSync(join(temp, 'images/tmp/layer-x/fs/half'), { recursive: true });
      writeFileSync(join(temp, 'images/records/.x.json.1-1.tmp'), 'half');
      writeFileSync(join(temp, 'images/blobs/sha256/.x.1-1.tmp'), 'half');
      const again = (await open()).store;
      assert.deepEqual(
        again.list().map(({ id }) => id),
        [one.id],
      );
      assert.deepEqual(inFolder('layers'), hexes(one.diffIds));
      assert.deepEqual(inFolder('blobs/sha256'), hexes(allBlobs(one)));
      assert.deepEqual(inFolder('tmp'), []);
      assert.deepEqual(inFolder('records'), [`${one.id.slice(7)}.json`]);
    });

    it('gives a tag that two records have to the later one', async () => {
      await pull(one, 'app:1');
      const before = readFileSync(recordPath(one.id));
      await pull(two, 'app:1');
      writeFileSync(recordPath(one.id), before);
      for (let start = 0; start < 2; start += 1) {
        const again = (await open()).store;
        assert.equal(again.find('example.org/app:1')?.id, two.id);
        assert.deepEqual(again.find(one.id)?.repoTags, []);
      }
    });
  });

  describe('of damage', () => {
    it('sets aside records that are cut short, or another image’s', async () => {
      await pull(one, 'one:1');
      await pull(two, 'two:1');
      const whole = readFileSync(recordPath(one.id), 'utf8');
      writeFileSync(recordPath(one.id), whole.slice(0, 100));
      renameSync(recordPath(two.id), recordPath(`sha256:${'0'.repeat(64)}`));
      const { store } = await open();
      assert.deepEqual(store.list(), []);
      assert.deepEqual(
        store
          .unreadable()
          .map(({ reason }) => reason.replace(/:.*/s, ''))
          .sort(),
        ['it cannot be read', 'it is the record of image sha256'],
      );
    });

    it('leaves what a newer version wrote as it is', async () => {
      await pull(one, 'one:1');
      const newer = JSON.stringify({ version: 2, secret: 'future' });
      writeFileSync(recordPath(one.id), newer);
      images = await open();
      assert.match(images.store.unreadable()[0]?.reason ?? '', /newer version/);
      await pull(two, 'two:1');
      await images.store.remove(two.id as ImageId);
      assert.equal(readFileSync(recordPath(one.id), 'utf8'), newer);
      assert.equal(existsSync(join(temp, 'images/layers', one.diffIds[1]?.slice(7) ?? '')), true);
      await assert.rejects(pull(one, 'one:1'), {
        kind: 'failed-precondition',
        message: /a newer version of the agent has pulled image/,
      });
      assert.equal(readFileSync(recordPath(one.id), 'utf8'), newer);
    });
  });

  it('leaves nothing of a pull that fails', async () => {
    const bad = buildImage({ layers: [[file('good')], [file('../bad')]] });
    await assert.rejects(pull(bad, 'bad:1'), { kind: 'invalid-argument', message: /leads out/ });
    const lying = buildImage({
      layers: [[file('x')]],
      document: { rootfs: { type: 'layers', diff_ids: [`sha256:${'1'.repeat(64)}`] } },
    });
    await assert.rejects(pull(lying, 'lying:1'), { kind: 'data-loss', message: /not the diff_id/ });
    const uneven = buildImage({ layers: [[file('x')]], document: { rootfs: { diff_ids: [] } } });
    await assert.rejects(pull(uneven, 'uneven:1'), { message: /0 diff_ids for 1 layers/ });
    assert.deepEqual(images.store.list(), []);
    for (const name of ['records', 'tmp']) assert.deepEqual(inFolder(name), []);
    images = await open();
    for (const name of ['layers', 'blobs/sha256']) assert.deepEqual(inFolder(name), []);
  });

  it('notices a layout whose blobs are not what they are called', async () => {
    for (const [at, blob] of [one.manifest, ...one.blobs].entries()) {
      const layout = join(temp, `damaged-${at}`);
      writeLayout(layout, { x: one });
      const bytes = Buffer.from(blob.bytes);
      // The last byte of a gzip file is its size; of JSON, a brace.
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 4;
      writeFileSync(join(layout, 'blobs', blob.digest.replace(':', '/')), bytes);
      // A store of its own: a layer that is there already is not read again.
      const fresh = await openImages(join(temp, `images-${at}`));
      opened.push(fresh);
      await assert.rejects(fresh.store.pull(layout, null, {}), { kind: 'data-loss' });
      assert.deepEqual(fresh.store.list(), []);
    }
  });

  it('says that the disk is full, and takes up again when it is not', async () => {
    const small = join(temp, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small]);
    try {
      const big = buildImage({ layers: [[file('big', Buffer.alloc(4 << 20, 'x'))], [file('a')]] });
      writeLayout(join(temp, 'big'), { x: big });
      const full = await openImages(join(small, 'images'));
      opened.push(full);
      await assert.rejects(full.store.pull(join(temp, 'big'), null, {}), {
        kind: 'resource-exhausted',
        message: /no space left on device/i,
      });
      assert.deepEqual(readdirSync(join(small, 'images/tmp')), []);
      execFileSync('mount', ['-o', 'remount,size=16m', small]);
      assert.equal((await full.store.pull(join(temp, 'big'), null, {})).id, big.id);
    } finally {
      execFileSync('umount', [small]);
    }
  });

  describe('with several callers at once', () => {
    /** Gives the blobs of images; a blob's answer waits for `open` when it is to be held. */
    async function gated(...all: BuiltImage[]): Promise<{
      server: HttpServer;
      open: () => void;
      countOf: (digest: string) => number;
    }> {
      let release: () => void = () => undefined;
      const gate = new Promise<void>((resolve) => {
        release = resolve;
      });
      const documents = all.flatMap(({ manifest, blobs }) => [manifest, ...blobs]);
      const server = await HttpServer.start((request, response) => {
        const last = request.url?.split('/').at(-1) ?? '';
        const named = /^tag(\d)$/.exec(last)?.[1];
        const blob =
          named === undefined
            ? documents.find(({ digest }) => digest === last)
            : all[Number(named)]?.manifest;
        if (blob === undefined) response.writeHead(404).end();
        else {
          const isLayer = blob.mediaType.includes('layer');
          void (isLayer ? gate : Promise.resolve()).then(() =>
            response.writeHead(200, { 'content-type': blob.mediaType }).end(blob.bytes),
          );
        }
      });
      return {
        server,
        open: release,
        countOf: (digest) => server.requests.filter(({ url }) => url?.endsWith(digest)).length,
      };
    }

    async function until(condition: () => boolean): Promise<void> {
      for (let i = 0; i < 500 && !condition(); i += 1) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      assert.ok(condition());
    }

    it('does the work once, for a caller that leaves as well', async () => {
      const { server, open: release, countOf } = await gated(one);
      try {
        const name = `${server.host}/x:tag0`;
        const layer = one.blobs[1]?.digest ?? '';
        const leaver = new AbortController();
        const leaving = images.store.pull(name, null, { signal: leaver.signal });
        const seen: PullUnderWay[] = [];
        const staying = images.store.pull(name, null, {
          signal: new AbortController().signal,
          onStart: (pull) => seen.push(pull),
        });
        await until(() => countOf(layer) === 1);
        const listed = images.store.pullsUnderWay();
        assert.equal(listed[0]?.snapshot().reference, name);
        leaver.abort();
        await assert.rejects(leaving, { kind: 'cancelled' });
        release();
        assert.equal((await staying).id, one.id);
        assert.equal(countOf(layer), 1);
        // The joined pull is the one that was listed, and the bytes were counted.
        assert.deepEqual(seen, listed);
        assert.deepEqual(
          seen[0]?.snapshot().layers.map(({ state, downloadedBytes }) => [state, downloadedBytes]),
          one.blobs.slice(1).map(({ bytes }) => ['done', bytes.length]),
        );
        assert.deepEqual(images.store.pullsUnderWay(), []);
      } finally {
        await server.close();
      }
    });

    it('stops when the last one leaves, with nothing left behind', async () => {
      const { server, countOf } = await gated(one);
      try {
        const leaver = new AbortController();
        const leaving = images.store.pull(`${server.host}/x:tag0`, null, { signal: leaver.signal });
        await until(() => countOf(one.blobs[1]?.digest ?? '') === 1);
        leaver.abort();
        await assert.rejects(leaving, { kind: 'cancelled', message: /was cancelled/ });
        assert.deepEqual(inFolder('tmp'), []);
        assert.deepEqual(inFolder('records'), []);
      } finally {
        await server.close();
      }
    });

    it('fetches a layer once that two images need, whoever leaves', async () => {
      const { server, open: release, countOf } = await gated(one, two);
      try {
        const shared = one.blobs[1]?.digest ?? '';
        const leaver = new AbortController();
        const leaving = images.store.pull(`${server.host}/x:tag0`, null, { signal: leaver.signal });
        await until(() => countOf(shared) === 1);
        let seen: PullUnderWay | undefined;
        const staying = images.store.pull(`${server.host}/x:tag1`, null, {
          onStart: (pull) => (seen = pull),
        });
        await until(() => countOf(two.blobs[2]?.digest ?? '') === 1);
        leaver.abort();
        await assert.rejects(leaving, { kind: 'cancelled' });
        release();
        assert.equal((await staying).id, two.id);
        assert.equal(countOf(shared), 1);
        // Both see how far it is; it counts for the one that began.
        const size = (index: number): number => two.blobs[index]?.bytes.length ?? 0;
        assert.deepEqual(
          seen?.snapshot().layers.map((layer) => [layer.downloadedBytes, layer.fetchedBytes]),
          [
            [size(1), 0],
            [size(2), size(2)],
          ],
        );
        assert.deepEqual(inFolder('layers'), hexes(two.diffIds));
      } finally {
        await server.close();
      }
    });

    it('does not share between callers of different credentials', async () => {
      const { server, open: release, countOf } = await gated(one);
      try {
        const auth = { username: 'a', password: 'b', auth: '', serverAddress: '' };
        const other = { ...auth, identityToken: '', registryToken: '' };
        const pulls = [null, other].map((given) =>
          images.store.pull(`${server.host}/x:tag0`, given, {}),
        );
        await until(() => countOf('tag0') === 2);
        release();
        await Promise.all(pulls);
      } finally {
        await server.close();
      }
    });

    it('removes an image while another that shares its layers is pulled', async () => {
      const { server, open: release, countOf } = await gated(two);
      try {
        await pull(one, 'one:1');
        const pulling = images.store.pull(`${server.host}/x:tag0`, null, {});
        await until(() => countOf(two.blobs[2]?.digest ?? '') === 1);
        await images.store.remove(one.id as ImageId);
        release();
        assert.equal((await pulling).id, two.id);
        assert.equal(countOf(two.blobs[1]?.digest ?? ''), 0);
        assert.deepEqual(inFolder('layers'), hexes(two.diffIds));
      } finally {
        await server.close();
      }
    });
  });

  it('pulls an image of many layers, some of them the same', async () => {
    const layers = Array.from({ length: 20 }, (_, at) => [folder(`d${at % 7}/`)]);
    const image = buildImage({ layers });
    const pulled = await pull(image, 'many:1');
    assert.equal(pulled.layers.length, 20);
    assert.equal(inFolder('layers').length, 7);
  });
});
