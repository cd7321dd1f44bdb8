/** Images to archives and back: with ourselves, with skopeo, and with archives that are wrong. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createReadStream, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { ArchiveFormat, LoadedImage } from '../../../src/core/ports/images.js';
import { layerFiles, openImages, type OpenedImages } from '../../support/images.js';
import {
  buildImage,
  descriptorOf,
  digestOf,
  writeLayout,
  type BuiltImage,
} from '../../support/oci-image.js';
import { file, folder, makeTar, symlink, type TarEntry } from '../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

const base = [folder('etc/'), file('etc/base', 'base\n')];
const image = buildImage({ layers: [base, [file('etc/top', 'top\n')]], config: { Env: ['A=b'] } });
const other = buildImage({ layers: [base, [file('etc/other', 'other\n')]] });

/** What docker save makes of an image. */
function dockerEntries(one: BuiltImage, tags: string[] | null): TarEntry[] {
  const config = one.blobs[0]!;
  const layers = one.diffIds.map((diffId) => `${diffId.slice(7, 27)}/layer.tar`);
  const tars = [makeTar(base), makeTar([file('etc/top', 'top\n')])];
  return [
    file(`${config.digest.slice(7)}.json`, config.bytes),
    ...layers.map((name, index) => file(name, tars[index])),
    file(
      'manifest.json',
      JSON.stringify([
        { Config: `${config.digest.slice(7)}.json`, RepoTags: tags, Layers: layers },
      ]),
    ),
  ];
}

/** An image layout as the members of an archive. */
function layoutEntries(
  one: BuiltImage,
  annotations: Record<string, string>[],
  change: Record<string, Buffer | null> = {},
): TarEntry[] {
  const manifests = annotations.map((entry) => ({
    ...descriptorOf(one.manifest),
    annotations: entry,
  }));
  return [
    file('oci-layout', '{"imageLayoutVersion":"1.0.0"}'),
    file('index.json', JSON.stringify({ schemaVersion: 2, manifests })),
    ...[one.manifest, ...one.blobs].flatMap(({ digest, bytes }) => {
      const changed = change[digest];
      const name = `blobs/${digest.replace(':', '/')}`;
      return changed === null ? [] : [file(name, changed ?? bytes)];
    }),
  ];
}

describe('archives of images', () => {
  let temp: string;
  let images: OpenedImages;

  beforeEach(async () => {
    temp = makeTempFolder();
    images = await openImages(join(temp, 'images'));
  });

  afterEach(() => {
    assert.deepEqual(readdirSync(join(images.root, 'tmp')), []);
    images.close();
    removeTempFolder(temp);
  });

  const pull = async (one: BuiltImage, name: string): Promise<void> => {
    const layout = join(temp, `layout-${one.id.slice(7, 15)}`);
    writeLayout(layout, { [name]: one });
    await images.store.pull(`oci:${layout}:${name}`, null, {});
  };
  const save = async (
    references: string[],
    format: ArchiveFormat = 'oci-archive',
    name = 'saved.tar',
  ): Promise<string> => {
    const path = join(temp, name);
    await writeFile(path, images.store.save(references, format, new AbortController().signal));
    return path;
  };
  const load = (archive: string | Buffer, name = ''): Promise<LoadedImage[]> =>
    images.store.load(typeof archive === 'string' ? createReadStream(archive) : chunks(archive), {
      name,
      signal: new AbortController().signal,
    });
  const removeAll = async (): Promise<void> => {
    for (const { id } of images.store.list()) await images.store.remove(id);
    nothingKept();
  };
  const nothingKept = (): void => {
    for (const kept of ['blobs/sha256', 'layers', 'layers/.tmp', 'records'])
      assert.deepEqual(
        readdirSync(join(images.root, kept)).filter((name) => name !== '.tmp'),
        [],
        kept,
      );
  };
  const members = (path: string): string[] =>
    execFileSync('tar', ['-tf', path], { encoding: 'utf8' }).trim().split('\n');

  for (const format of ['oci-archive', 'docker-archive'] as const) {
    it(`${format}: what is saved and removed comes back as it was`, async () => {
      await pull(image, 'example.org/shop/web:1');
      await pull(other, 'example.org/shop/other:1');
      await images.store.tag('example.org/shop/web:1', 'web');
      const before = images.store.find('web')!;
      const path = await save(
        ['example.org/shop/web:1', 'web', 'example.org/shop/other:1'],
        format,
      );
      assert.equal(new Set(members(path)).size, members(path).length);
      await removeAll();
      const loaded = await load(path);
      assert.deepEqual(loaded, [
        { id: image.id, names: ['example.org/shop/web:1', 'docker.io/library/web:latest'] },
        { id: other.id, names: ['example.org/shop/other:1'] },
      ]);
      const after = images.store.find('web')!;
      assert.deepEqual(
        [after.id, after.repoTags.sort(), after.config, after.layers],
        [image.id, before.repoTags.sort(), before.config, before.layers],
      );
      const top = join(layerFiles(images.root, image.diffIds[1]!), 'etc/top');
      assert.equal(readFileSync(top, 'utf8'), 'top\n');
      if (format === 'oci-archive') assert.deepEqual(after.repoDigests, before.repoDigests);
      // The same again, byte by byte.
      const again = await save(
        ['example.org/shop/web:1', 'web', 'example.org/shop/other:1'],
        format,
        'again.tar',
      );
      assert.ok(readFileSync(path).equals(readFileSync(again)));
    });

    it(`${format}: skopeo reads what is saved, and we what skopeo writes`, async () => {
      await pull(image, 'example.org/shop/web:1');
      const path = await save(['example.org/shop/web:1'], format);
      const copied = join(temp, 'copied');
      const source = `${format}:${path}:example.org/shop/web:1`;
      execFileSync('skopeo', ['copy', '-q', '--insecure-policy', source, `oci:${copied}:x`]);
      const config = execFileSync('skopeo', ['inspect', '--config', '--raw', `oci:${copied}:x`], {
        encoding: 'utf8',
      });
      // Of docker's kind of config skopeo makes its own.
      if (format === 'oci-archive') assert.equal(digestOf(config), image.id);
      assert.deepEqual(
        (JSON.parse(config) as { rootfs: { diff_ids: string[] } }).rootfs.diff_ids,
        image.diffIds,
      );
      await removeAll();
      const theirs = join(temp, 'theirs.tar');
      execFileSync('skopeo', [
        'copy',
        '-q',
        '--insecure-policy',
        `oci:${copied}:x`,
        `${format}:${theirs}:example.org/shop/web:2`,
      ]);
      const [loaded] = await load(theirs);
      assert.deepEqual(loaded?.names, ['example.org/shop/web:2']);
      assert.deepEqual(images.store.find('example.org/shop/web:2')?.layers, image.diffIds);
      if (format === 'oci-archive') assert.equal(loaded.id, image.id);
    });
  }

  it('of docker before 25, with a layer that is a link, gzip or zstd layers, and several tags', async () => {
    const [first, second] = dockerEntries(image, null)
      .filter(({ name }) => String(name).endsWith('layer.tar'))
      .map(({ name, data }) => ({ name: String(name), data: data as Buffer }));
    const twice = buildImage({ layers: [base, base] });
    const config = twice.blobs[0]!;
    const archive = makeTar([
      file('config.json', config.bytes),
      file(first!.name, gzipSync(first!.data)),
      symlink(second!.name, `../${first!.name}`),
      file(
        'manifest.json',
        JSON.stringify([
          {
            Config: 'config.json',
            RepoTags: ['web:1', 'example.org/web:1'],
            Layers: [first!.name, second!.name],
          },
        ]),
      ),
    ]);
    assert.deepEqual(await load(archive), [
      { id: twice.id, names: ['docker.io/library/web:1', 'example.org/web:1'] },
    ]);
    assert.deepEqual(images.store.find('example.org/web:1')?.layers, twice.diffIds);
  });

  for (const [what, compress] of [
    ['gzip', gzipSync],
    ['zstd', (bytes: Buffer) => execFileSync('zstd', ['-qc'], { input: bytes })],
    ['xz', (bytes: Buffer) => execFileSync('xz', ['-c'], { input: bytes })],
  ] as const) {
    it(`compressed by ${what}`, async () => {
      const archive = compress(makeTar(dockerEntries(image, ['web:1'])));
      assert.deepEqual(await load(archive), [{ id: image.id, names: ['docker.io/library/web:1'] }]);
    });
  }

  it('without a name: of an only image the archive has one, docker says none', async () => {
    assert.deepEqual(await load(makeTar(layoutEntries(image, [{}])), 'My Web.tar.gz'), [
      { id: image.id, names: ['localhost/my-web:latest'] },
    ]);
    await removeAll();
    assert.deepEqual(await load(makeTar(dockerEntries(image, null))), [
      { id: image.id, names: [] },
    ]);
    assert.deepEqual(images.store.find(image.id)?.repoTags, []);
    const path = await save([image.id]);
    await removeAll();
    assert.deepEqual(await load(path, 'x.tar'), [{ id: image.id, names: ['localhost/x:latest'] }]);
  });

  it("names of docker's and podman's kind, several for one image", async () => {
    const names = [
      {
        'io.containerd.image.name': 'docker.io/library/a:1',
        'org.opencontainers.image.ref.name': '1',
      },
      { 'org.opencontainers.image.ref.name': 'example.org/b:2' },
    ];
    assert.deepEqual(await load(makeTar(layoutEntries(image, names))), [
      { id: image.id, names: ['docker.io/library/a:1', 'example.org/b:2'] },
    ]);
  });

  it('a tag moves with what is loaded', async () => {
    await pull(other, 'example.org/web:1');
    await load(makeTar(dockerEntries(image, ['example.org/web:1'])));
    assert.equal(images.store.find('example.org/web:1')?.id, image.id);
    assert.deepEqual(images.store.find(other.id)?.repoTags, []);
  });

  it('details of an image', async () => {
    await load(makeTar(layoutEntries(image, [{ 'org.opencontainers.image.ref.name': 'a/b:1' }])));
    const details = await images.store.details(images.store.find(image.id)!.id);
    assert.equal(details.manifestDigest, image.manifest.digest);
    assert.deepEqual(
      details.layers.map(({ diffId, digest, size }) => [diffId, digest, size]),
      image.blobs
        .slice(1)
        .map(({ digest, bytes }, index) => [image.diffIds[index], digest, bytes.length]),
    );
    assert.ok(details.layers.every(({ unpackedBytes }) => unpackedBytes > 0));
    assert.deepEqual(details.imageSpec, JSON.parse(image.blobs[0]!.bytes.toString()));
  });

  describe('that are wrong leave nothing, and say why:', () => {
    const layer = image.blobs[1]!;
    const named = [{ 'org.opencontainers.image.ref.name': 'a/b:1' }];
    const whole = makeTar(layoutEntries(image, named));
    const docker = makeTar(dockerEntries(image, ['web']));
    const flipped = Buffer.from(layer.bytes);
    flipped[flipped.length - 1]! ^= 1;
    const withManifest = (text: string): Buffer =>
      makeTar([
        ...dockerEntries(image, null).filter(({ name }) => name !== 'manifest.json'),
        file('manifest.json', text),
      ]);
    const config = `${image.id.slice(7)}.json`;
    const cases: [string, Buffer, string, RegExp][] = [
      ['no archive', Buffer.from('hello '.repeat(200)), 'invalid-argument', /no sound tar archive/],
      ['nothing at all', Buffer.alloc(0), 'invalid-argument', /holds no images/],
      ['an archive of something else', makeTar(base), 'invalid-argument', /holds no images/],
      [
        'one cut in the middle',
        whole.subarray(0, 2300),
        'invalid-argument',
        /no sound tar archive/,
      ],
      [
        'one cut between two members',
        makeTar(layoutEntries(image, named).slice(0, 3)).subarray(0, -1024),
        'data-loss',
        /lacks blob sha256/,
      ],
      ['gzip cut in the middle', gzipSync(docker).subarray(0, 300), 'data-loss', /archive/],
      [
        'a blob that is missing',
        makeTar(layoutEntries(image, named, { [layer.digest]: null })),
        'data-loss',
        /lacks blob sha256/,
      ],
      [
        'a blob with another content',
        makeTar(layoutEntries(image, named, { [layer.digest]: flipped })),
        'data-loss',
        /digest/,
      ],
      [
        'a config with another content',
        makeTar([file(config, '{"os":"linux"}'), ...dockerEntries(image, ['web']).slice(1)]),
        'data-loss',
        /has content of digest/,
      ],
      [
        'layers in the wrong order',
        withManifest(
          JSON.stringify([
            {
              Config: config,
              RepoTags: null,
              Layers: image.diffIds.map((id) => `${id.slice(7, 27)}/layer.tar`).reverse(),
            },
          ]),
        ),
        'data-loss',
        /digest/,
      ],
      [
        'too few layers',
        withManifest(JSON.stringify([{ Config: config, Layers: [] }])),
        'invalid-argument',
        /has 0 layers, but .* has 2 diff_ids/,
      ],
      [
        'a layer outside of it',
        withManifest(
          JSON.stringify([{ Config: config, Layers: ['../../../etc/passwd', '/etc/passwd'] }]),
        ),
        'data-loss',
        /lacks "\.\.\/\.\.\/\.\.\/etc\/passwd"/,
      ],
      ['a manifest.json that is none', withManifest('{"a":'), 'invalid-argument', /manifest\.json/],
      [
        'a name that is none',
        withManifest(JSON.stringify([{ Config: config, RepoTags: ['A B'], Layers: [] }])),
        'invalid-argument',
        /image reference "A B" is malformed/,
      ],
      ['no image in it', withManifest('[]'), 'not-found', /holds no image/],
    ];
    for (const [what, archive, kind, message] of cases) {
      it(what, async () => {
        await assert.rejects(load(archive), (error: Error & { kind?: string }) => {
          assert.equal(error.kind, kind, error.message);
          assert.match(error.message, message);
          assert.doesNotMatch(error.message, /images\/tmp/);
          return true;
        });
        assert.deepEqual(images.store.list(), []);
        assert.deepEqual(images.store.pullsUnderWay(), []);
        nothingKept();
      });
    }

    it('one that is given up in the middle', async () => {
      const leaver = new AbortController();
      async function* half(): AsyncGenerator<Uint8Array> {
        yield whole.subarray(0, 2000);
        await Promise.resolve();
        leaver.abort();
        yield whole.subarray(2000);
      }
      await assert.rejects(images.store.load(half(), { name: '', signal: leaver.signal }));
      assert.deepEqual(images.store.list(), []);
    });
  });

  it('an image that is not there, or whose blobs are not, cannot be saved', async () => {
    await assert.rejects(save(['nobody']), { kind: 'not-found', message: /no image "nobody"/ });
    await pull(image, 'example.org/web:1');
    images.close();
    const lost = image.blobs[1]!.digest;
    execFileSync('rm', [join(images.root, 'blobs', lost.replace(':', '/'))]);
    images = await openImages(images.root);
    await assert.rejects(save(['example.org/web:1']), {
      kind: 'failed-precondition',
      message: new RegExp(`blob ${lost} is not kept; pull it again`),
    });
  });

  it('a blob that was damaged on the disk is not handed on', async () => {
    await pull(image, 'example.org/web:1');
    const blob = image.blobs[1]!;
    writeFileSync(
      join(images.root, 'blobs', blob.digest.replace(':', '/')),
      Buffer.alloc(blob.bytes.length),
    );
    for (const format of ['oci-archive', 'docker-archive'] as const)
      await assert.rejects(save(['example.org/web:1'], format), { kind: 'data-loss' });
  });

  it('tags are names with a tag, and of what is there', async () => {
    await pull(image, 'example.org/web:1');
    await assert.rejects(images.store.tag('nobody', 'web'), { kind: 'not-found' });
    await assert.rejects(images.store.tag('example.org/web:1', `web@${image.id}`), {
      kind: 'invalid-argument',
    });
    await assert.rejects(images.store.tag('example.org/web:1', 'A B'), {
      kind: 'invalid-argument',
    });
    const { repoTags } = await images.store.tag(image.id, 'web:2');
    assert.deepEqual(repoTags, ['example.org/web:1', 'docker.io/library/web:2']);
    images.close();
    images = await openImages(images.root);
    assert.equal(images.store.find('web:2')?.id, image.id);
  });
});

/** Not aligned to anything. */
async function* chunks(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 999) {
    await Promise.resolve();
    yield bytes.subarray(at, at + 999);
  }
}
