/** Images made of templates of Proxmox VE: archives of a whole root file system. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { ImageRecord } from '../../../src/core/model.js';
import { layerFiles, openImages, type OpenedImages } from '../../support/images.js';
import { buildImage, digestOf, writeLayout } from '../../support/oci-image.js';
import { file, folder, makeTar, symlink } from '../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('template as an image', () => {
  const root = makeTar([
    folder('./'),
    folder('./etc'),
    file('./etc/hostname', 'template\n'),
    folder('./dev'),
    { name: './dev/null', type: '3', mode: 0o666 },
    folder('./sbin'),
    symlink('./sbin/init', '../bin/busybox'),
  ]);
  const COMPRESS = { tar: 'cat', 'tar.gz': 'gzip', 'tar.zst': 'zstd', 'tar.xz': 'xz' } as const;
  let temp: string;
  let cache: string;
  let images: OpenedImages;

  beforeEach(async () => {
    temp = makeTempFolder();
    cache = join(temp, 'storage/template/cache');
    mkdirSync(cache, { recursive: true });
    const storageConfig = join(temp, 'storage.cfg');
    writeFileSync(storageConfig, `dir: local\n\tpath ${temp}/storage\n\tcontent vztmpl\n`);
    images = await openImages(join(temp, 'images'), undefined, undefined, { storageConfig });
  });
  afterEach(() => {
    images.close();
    removeTempFolder(temp);
  });

  function write(name: string, tar = root): string {
    const [, suffix = ''] = /\.(tar(?:\.\w+)?)$/.exec(name) ?? [];
    const command = COMPRESS[suffix as keyof typeof COMPRESS];
    writeFileSync(join(cache, name), execFileSync(command, { input: tar }));
    return join(cache, name);
  }
  const pull = (reference: string): Promise<ImageRecord> => images.store.pull(reference, null, {});

  for (const suffix of Object.keys(COMPRESS)) {
    it(`takes a ${suffix}, and finds it again by its name`, async () => {
      const name = `small-1_1.0-1_amd64.${suffix}`;
      write(name);
      const reference = `pve://local:vztmpl/${name}`;
      const pulled = await pull(reference);
      assert.deepEqual(pulled.repoTags, [`localhost/vztmpl/local:${name}`]);
      assert.deepEqual(pulled.layers, [digestOf(root)]);
      assert.deepEqual(pulled.config.cmd, ['/sbin/init']);
      assert.deepEqual(pulled.config.labels, [['org.opencontainers.image.title', name]]);
      const files = layerFiles(images.root, pulled.layers[0] ?? '');
      assert.equal(readFileSync(join(files, 'etc/hostname'), 'utf8'), 'template\n');
      assert.deepEqual(readdirSync(join(files, 'dev')), []);
      for (const found of [reference, pulled.id, pulled.repoTags[0] ?? '']) {
        assert.equal(images.store.find(found)?.id, pulled.id);
      }
      assert.deepEqual(readdirSync(join(images.root, 'tmp')), []);
      await images.store.remove(pulled.id);
      assert.equal(images.store.find(reference), undefined);
    });
  }

  it('has the same id for the same content, however it came', async () => {
    const path = write('a_1_amd64.tar.zst');
    const first = await pull('pve://local:vztmpl/a_1_amd64.tar.zst');
    utimesSync(path, 1, 1);
    const byPath = await pull(path);
    assert.equal(byPath.id, first.id);
    assert.equal(byPath.repoTags.length, 2);
    assert.equal(images.store.find(path)?.id, first.id);
    write('a_1_amd64.tar.zst', makeTar([folder('./'), file('./other')]));
    const changed = await pull('pve://local:vztmpl/a_1_amd64.tar.zst');
    assert.notEqual(changed.id, first.id);
    assert.equal(images.store.find('pve://local:vztmpl/a_1_amd64.tar.zst')?.id, changed.id);
    assert.equal(images.store.find(path)?.id, first.id);
  });

  it('takes an archive of an OCI layout for what it is', async () => {
    const image = buildImage({ layers: [[file('a', '1')]], config: { Cmd: ['/app'] } });
    writeLayout(join(temp, 'layout'), { 'docker.io/library/app:1': image });
    execFileSync('tar', ['-cf', join(cache, 'app_1.tar'), '-C', join(temp, 'layout'), '.']);
    const pulled = await pull('pve://local:vztmpl/app_1.tar');
    assert.equal(pulled.id, image.id);
    assert.deepEqual(pulled.repoTags, ['localhost/vztmpl/local:app_1.tar']);
    assert.equal(images.store.find('pve://local:vztmpl/app_1.tar')?.id, image.id);
  });

  it('refuses what is for another architecture, damaged, or of another compression', async () => {
    write('a_1_s390x.tar.gz');
    await assert.rejects(pull('pve://local:vztmpl/a_1_s390x.tar.gz'), {
      kind: 'not-found',
      message: /is an image for linux\/s390x/,
    });
    const path = write('cut_1_amd64.tar.zst');
    writeFileSync(path, readFileSync(path).subarray(0, -20));
    await assert.rejects(pull(path), { kind: 'data-loss' });
    writeFileSync(join(cache, 'b.tar.bz2'), execFileSync('bzip2', { input: root }));
    await assert.rejects(pull('pve://local:vztmpl/b.tar.bz2'), {
      kind: 'unimplemented',
      message: /is compressed by bzip2: recompress it/,
    });
    renameSync(path, join(cache, 'gone'));
    await assert.rejects(pull('pve://local:vztmpl/cut_1_amd64.tar.zst'), {
      kind: 'not-found',
      message: /there is no template .*cut_1_amd64.tar.zst/,
    });
    assert.deepEqual(images.store.list(), []);
    assert.deepEqual(readdirSync(join(images.root, 'tmp')), []);
  });
});
