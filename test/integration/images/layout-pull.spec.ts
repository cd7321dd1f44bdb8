/** Pulls from layout folders and archives, by the real helper onto real folders. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { PullUnderWay } from '../../../src/core/pull-progress.js';
import { buildArtifact, buildImage, writeLayout } from '../../support/oci-image.js';
import { layerFiles, openImages, type OpenedImages } from '../../support/images.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';
import { file, folder } from '../../support/tar.js';

describe('pull of an OCI layout', () => {
  let temp: string;
  let images: OpenedImages;

  beforeEach(async () => {
    temp = makeTempFolder();
    images = await openImages(join(temp, 'images'));
  });
  afterEach(() => {
    images.close();
    removeTempFolder(temp);
  });

  const hello = buildImage({
    layers: [[folder('etc/'), file('etc/hello', 'hello\n', { mode: 0o640, uid: 12, gid: 34 })]],
    config: { Env: ['A=b'], Cmd: ['/bin/hello'], Labels: { 'io.kubernetes.container.name': 'x' } },
  });

  it('takes an artifact with an empty file', async () => {
    writeLayout(join(temp, 'artifact'), { v1: buildArtifact({ empty: '', full: 'x' }) });
    const image = await images.store.pull(`oci:${temp}/artifact`, null, {});
    assert.deepEqual(image.files?.map(({ path }) => path).sort(), ['empty', 'full']);
  });

  it('unpacks a folder, and gives names after the folder', async () => {
    writeLayout(join(temp, 'Hello World'), { v1: hello });
    const started: PullUnderWay[] = [];
    const image = await images.store.pull(`oci:${temp}/Hello World`, null, {
      onStart: (pull) => started.push(pull),
    });
    assert.equal(image.id, hello.id);
    assert.deepEqual(image.repoTags, ['localhost/hello-world:v1']);
    assert.deepEqual(image.repoDigests, [`localhost/hello-world@${hello.manifest.digest}`]);
    assert.deepEqual(image.config.env, ['A=b']);
    assert.equal(
      image.size,
      hello.blobs.reduce((sum, { bytes }) => sum + bytes.length, 0),
    );
    const path = join(layerFiles(images.root, hello.diffIds[0] ?? ''), 'etc/hello');
    assert.equal(readFileSync(path, 'utf8'), 'hello\n');
    const { mode, uid, gid, mtimeMs } = lstatSync(path);
    assert.deepEqual([mode & 0o7777, uid, gid, mtimeMs], [0o640, 12, 34, 1e12]);
    const layer = hello.blobs[1]!;
    const size = layer.bytes.length;
    assert.deepEqual(
      started.map((pull) => pull.snapshot().layers),
      [
        [
          {
            digest: layer.digest,
            size,
            downloadedBytes: size,
            fetchedBytes: size,
            unpackedBytes: size,
            state: 'done',
          },
        ],
      ],
    );
    assert.deepEqual(images.store.pullsUnderWay(), []);
    assert.deepEqual(readdirSync(join(images.root, 'tmp')), []);
  });

  for (const name of [
    'localhost/hello-world:v1',
    'localhost/hello-world',
    'sha256',
    'id',
    'prefix',
  ]) {
    it(`finds an image by ${name}`, async () => {
      writeLayout(join(temp, 'hello-world'), { 'localhost/hello-world': hello });
      writeLayout(join(temp, 'hello_world'), { v1: hello });
      await images.store.pull(join(temp, 'hello-world'), null, {});
      await images.store.pull(join(temp, 'hello_world'), null, {});
      const reference = {
        sha256: hello.id,
        id: hello.id.slice(7),
        prefix: hello.id.slice(7, 19),
      }[name];
      assert.equal(images.store.find(reference ?? name)?.id, hello.id);
    });
  }

  it('unpacks an archive, by transport and by plain path', async () => {
    writeLayout(join(temp, 'layout'), { 'example.org/team/app:1.2': hello });
    const archive = join(temp, 'app.tar');
    execFileSync('tar', ['-cf', archive, '-C', join(temp, 'layout'), '.']);
    for (const reference of [`oci-archive:${archive}`, archive]) {
      const image = await images.store.pull(reference, null, {});
      assert.deepEqual(image.repoTags, ['example.org/team/app:1.2']);
      await images.store.remove(image.id);
      assert.deepEqual(readdirSync(join(images.root, 'layers')), ['.tmp']);
    }
  });

  it('chooses among several images by name', async () => {
    const other = buildImage({ layers: [[file('other')]] });
    writeLayout(join(temp, 'many'), { one: hello, 'example.org/other:two': other });
    const layout = `oci:${temp}/many`;
    assert.equal((await images.store.pull(`${layout}:one`, null, {})).id, hello.id);
    assert.equal((await images.store.pull(`${layout}:two`, null, {})).id, other.id);
    assert.equal(
      (await images.store.pull(`${layout}:example.org/other:two`, null, {})).id,
      other.id,
    );
    await assert.rejects(images.store.pull(layout, null, {}), {
      kind: 'invalid-argument',
      message: /holds 2 images, name one of them after the path: one, example.org\/other:two/,
    });
    await assert.rejects(images.store.pull(`${layout}:three`, null, {}), { kind: 'not-found' });
  });

  it('says what is not there', async () => {
    mkdirSync(join(temp, 'empty'));
    writeFileSync(join(temp, 'text'), 'no tar\n'.repeat(200));
    await assert.rejects(images.store.pull(`oci:${temp}/empty`, null, {}), {
      kind: 'not-found',
      message: /no index.json/,
    });
    await assert.rejects(images.store.pull(join(temp, 'absent'), null, {}), { kind: 'not-found' });
    await assert.rejects(images.store.pull(join(temp, 'text'), null, {}), {
      kind: 'invalid-argument',
      message: /no sound tar archive/,
    });
    await assert.rejects(images.store.pull('oci:relative', null, {}), {
      kind: 'invalid-argument',
      message: /absolute path/,
    });
    for (const character of ['\0', '\n']) {
      await assert.rejects(images.store.pull(`oci:/a${character}b`, null, {}), {
        kind: 'invalid-argument',
        message: /control character/,
      });
    }
    assert.equal(existsSync(join(images.root, 'tmp')), true);
    assert.deepEqual(images.store.list(), []);
  });
});
