/** Pulls from a real registry over plain http on loopback. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageRecord } from '../../../src/core/model.js';
import { createRegistryOpener } from '../../../src/images/registry/source.js';
import {
  push,
  pushManifest,
  startDockerRegistry,
  type DockerRegistry,
} from '../../support/docker-registry.js';
import { layerFiles, openImages, type OpenedImages } from '../../support/images.js';
import {
  ARCHITECTURE,
  buildImage,
  descriptorOf,
  makeBlob,
  writeLayout,
} from '../../support/oci-image.js';
import { file } from '../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('pull from a registry', () => {
  let temp: string;
  let registry: DockerRegistry;
  let images: OpenedImages;

  before(async () => {
    temp = makeTempFolder();
    registry = await startDockerRegistry(temp);
  });
  after(async () => {
    await registry.stop();
    removeTempFolder(temp);
  });
  beforeEach(async () => {
    images = await openImages(
      join(temp, 'images'),
      createRegistryOpener(() => join(temp, 'hosts')),
    );
  });
  afterEach(() => {
    images.close();
    removeTempFolder(join(temp, 'images'));
  });

  const one = buildImage({ layers: [[file('one', '1')], [file('two', '2')]] });
  const other = buildImage({ layers: [[file('one', '1')], [file('three', '3')]], docker: true });

  function content(image: ImageRecord, layer: number, name: string): string {
    const path = layerFiles(images.root, image.layers[layer] ?? '');
    return readFileSync(join(path, name), 'utf8');
  }

  it('pulls by tag and by digest, OCI and docker', async () => {
    for (const [tag, image] of Object.entries({ oci: one, docker: other })) {
      await push(registry.host, 'a/b', tag, image);
      const name = `${registry.host}/a/b`;
      const pulled = await images.store.pull(`${name}:${tag}`, null, {});
      assert.equal(pulled.id, image.id);
      assert.deepEqual(pulled.repoTags, [`${name}:${tag}`]);
      assert.deepEqual(pulled.repoDigests, [`${name}@${image.manifest.digest}`]);
      assert.equal(content(pulled, 0, 'one'), '1');
      await images.store.remove(pulled.id);
      const again = await images.store.pull(`${name}@${image.manifest.digest}`, null, {});
      assert.deepEqual(again.repoTags, []);
      assert.equal(images.store.find(`${name}@${image.manifest.digest}`)?.id, image.id);
    }
  });

  it('fetches what the digest names where there is a tag too, and gives no tag', async () => {
    const name = `${registry.host}/both`;
    await push(registry.host, 'both', '1', one);
    await push(registry.host, 'both', '2', other);
    const pulled = await images.store.pull(`${name}:2@${one.manifest.digest}`, null, {});
    assert.equal(pulled.id, one.id);
    assert.deepEqual(pulled.repoTags, []);
    assert.equal(images.store.find(`${name}:2@${one.manifest.digest}`)?.id, one.id);
    assert.equal(images.store.find(`${name}:2`), undefined);
  });

  it('moves a tag, and shares and keeps layers', async () => {
    const name = `${registry.host}/moving:latest`;
    await push(registry.host, 'moving', 'latest', one);
    await images.store.pull(name, null, {});
    await push(registry.host, 'moving', 'latest', other);
    const moved = await images.store.pull(name, null, {});
    assert.equal(moved.id, other.id);
    assert.equal(images.store.find(name)?.id, other.id);
    assert.deepEqual(images.store.find(one.id)?.repoTags, []);
    assert.equal(images.store.find(one.id)?.repoDigests.length, 1);
    assert.equal(readdirSync(join(images.root, 'layers')).length, 3 + 1);
    await images.store.remove(moved.id);
    assert.equal(readdirSync(join(images.root, 'layers')).length, 2 + 1);
    assert.equal(images.store.find(name), undefined);
  });

  it('asks for nothing that is here: by tag the manifest alone, by digest nothing at all', async () => {
    const folder = join(temp, 'own');
    mkdirSync(folder);
    const own = await startDockerRegistry(folder);
    try {
      await push(own.host, 'here', 'v1', one);
      const name = `${own.host}/here`;
      const first = await images.store.pull(`${name}:v1`, null, {});
      for (const { digest } of one.blobs) {
        const hex = digest.replace('sha256:', '');
        const stored = `registry/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}`;
        rmSync(join(folder, stored), { recursive: true });
      }
      assert.deepEqual(await images.store.pull(`${name}:v1`, null, {}), first);
      await own.stop();
      const reference = `${name}@${one.manifest.digest}`;
      assert.deepEqual(await images.store.pull(reference, null, {}), first);
      assert.deepEqual(
        await images.store.pull(`${name}:v1@${one.manifest.digest}`, null, {}),
        first,
      );
    } finally {
      await own.stop();
    }
  });

  it('chooses from an index what runs here, and refuses what does not', async () => {
    const foreign = buildImage({ layers: [], document: { architecture: 's390x' } });
    await push(registry.host, 'multi', 'foreign', foreign);
    await push(registry.host, 'multi', 'native', one);
    const entry = (image: typeof one, architecture: string): object => ({
      ...descriptorOf(image.manifest),
      platform: { os: 'linux', architecture },
    });
    const makeIndex = (...manifests: object[]): ReturnType<typeof makeBlob> =>
      makeBlob(
        'application/vnd.oci.image.index.v1+json',
        JSON.stringify({ schemaVersion: 2, manifests }),
      );
    const index = makeIndex(entry(foreign, 's390x'), entry(one, ARCHITECTURE));
    await pushManifest(registry.host, 'multi', 'both', index);
    const pulled = await images.store.pull(`${registry.host}/multi:both`, null, {});
    assert.equal(pulled.id, one.id);
    assert.deepEqual(pulled.repoDigests, [`${registry.host}/multi@${index.digest}`]);

    await pushManifest(registry.host, 'multi', 'no', makeIndex(entry(foreign, 's390x')));
    for (const tag of ['no', 'foreign']) {
      await assert.rejects(images.store.pull(`${registry.host}/multi:${tag}`, null, {}), {
        kind: 'not-found',
        message: /linux\/s390x/,
      });
    }
  });

  it('reads hosts.toml anew for each pull, mirrors first', async () => {
    await push(registry.host, 'library/tool', '1', one);
    const folder = join(temp, 'hosts/registry.example');
    mkdirSync(folder, { recursive: true });
    const write = (...hosts: string[]): void => {
      const tables = hosts.map((host) => `[host."${host}"]\ncapabilities = ["pull", "resolve"]\n`);
      writeFileSync(
        join(folder, 'hosts.toml'),
        `server = "http://127.0.0.1:1"\n${tables.join('\n')}`,
      );
    };
    write(`http://127.0.0.1:1`, `http://${registry.host}`);
    const pulled = await images.store.pull('registry.example/library/tool:1', null, {});
    assert.deepEqual(pulled.repoTags, ['registry.example/library/tool:1']);
    await images.store.remove(pulled.id);
    write();
    await assert.rejects(images.store.pull('registry.example/library/tool:1', null, {}), {
      kind: 'registry-unavailable',
      message: /127.0.0.1:1 cannot be reached/,
    });
  });

  it('says what is not there', async () => {
    await assert.rejects(images.store.pull(`${registry.host}/a/b:absent`, null, {}), {
      kind: 'not-found',
      message: /answered 404 for manifest of .*a\/b:absent: manifest unknown/,
    });
  });

  it('takes what skopeo has copied', async () => {
    writeLayout(join(temp, 'layout'), { v1: one });
    const source = `oci:${join(temp, 'layout')}:v1`;
    const copy = (target: string): void => {
      const policy = ['--insecure-policy', 'copy', '--quiet', '--dest-tls-verify=false'];
      execFileSync('skopeo', [...policy, source, target]);
    };
    copy(`docker://${registry.host}/by/skopeo:1`);
    copy(`oci-archive:${join(temp, 'skopeo.tar')}:v1`);
    copy(`oci:${join(temp, 'skopeo')}:example.org/by/skopeo:2`);
    for (const [reference, tag] of [
      [`${registry.host}/by/skopeo:1`, `${registry.host}/by/skopeo:1`],
      [join(temp, 'skopeo.tar'), 'localhost/skopeo:v1'],
      [`oci:${join(temp, 'skopeo')}:example.org/by/skopeo:2`, 'example.org/by/skopeo:2'],
    ] as const) {
      const pulled = await images.store.pull(reference, null, {});
      assert.ok(pulled.repoTags.includes(tag), `${pulled.repoTags.join()} has ${tag}`);
      assert.equal(content(pulled, 1, 'two'), '2');
    }
  });
});
