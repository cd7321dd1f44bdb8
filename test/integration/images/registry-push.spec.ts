/** Pushes to a real registry, over a network that breaks. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { parseImageReference } from '../../../src/core/image-reference.js';
import {
  createRegistryPusher,
  type BlobPushProgress,
  type BlobReader,
  type PushedImage,
} from '../../../src/images/registry/push.js';
import { blobsIn } from '../../support/blob-reader.js';
import { BreakingProxy } from '../../support/breaking-proxy.js';
import { startDockerRegistry, type DockerRegistry } from '../../support/docker-registry.js';
import {
  ARCHITECTURE,
  buildImage,
  descriptorOf,
  digestOf,
  makeBlob,
} from '../../support/oci-image.js';
import { file } from '../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

describe('push to a registry', () => {
  const large = buildImage({
    layers: [[file('random', randomBytes(3 << 20))], [file('small', '1')]],
  });
  const docker = buildImage({ layers: [[file('a', '1')]], docker: true });
  const foreign = buildImage({ layers: [[file('b', '2')]], document: { architecture: 's390x' } });
  let temp: string;
  let registry: DockerRegistry;
  let progress: BlobPushProgress[];

  before(async () => {
    temp = makeTempFolder();
    registry = await startDockerRegistry(temp);
  });
  after(async () => {
    await registry.stop();
    removeTempFolder(temp);
  });
  beforeEach(() => {
    progress = [];
  });

  function push(
    reference: string,
    digest: string,
    blobs: BlobReader,
    mountFrom: string[] = [],
  ): Promise<PushedImage> {
    return createRegistryPusher(() => join(temp, 'hosts'))({
      reference: parseImageReference(reference),
      digest,
      blobs,
      auth: null,
      mountFrom,
      signal: new AbortController().signal,
      onProgress: (each) => progress.push(each),
    });
  }
  const statesAtEnd = (): string[] =>
    [...new Map(progress.map(({ digest, state }) => [digest, state])).values()].sort();

  async function fetchManifest(name: string): Promise<[string, string | null]> {
    const accept =
      'application/vnd.oci.image.index.v1+json,application/vnd.oci.image.manifest.v1+json,application/vnd.docker.distribution.manifest.v2+json';
    const response = await fetch(`http://${registry.host}/v2/${name}`, { headers: { accept } });
    assert.equal(response.status, 200);
    const bytes = Buffer.from(await response.arrayBuffer());
    return [digestOf(bytes), response.headers.get('content-type')];
  }

  it('sends what is missing, of any format, and the tag', async () => {
    for (const image of [large, docker]) {
      const blobs = blobsIn(join(temp, 'blobs'), image);
      const pushed = await push(`${registry.host}/a/b:v1`, image.manifest.digest, blobs);
      const bytes = image.blobs.reduce((sum, blob) => sum + blob.bytes.length, 0);
      assert.deepEqual(pushed, { digest: image.manifest.digest, sentBytes: bytes });
      assert.deepEqual(await fetchManifest('a/b/manifests/v1'), [
        image.manifest.digest,
        image.manifest.mediaType,
      ]);
      assert.deepEqual(
        statesAtEnd(),
        image.blobs.map(() => 'done'),
      );
      progress = [];
      const again = await push(`${registry.host}/a/b:v2`, image.manifest.digest, blobs);
      assert.equal(again.sentBytes, 0);
      assert.deepEqual(
        statesAtEnd(),
        image.blobs.map(() => 'present'),
      );
      progress = [];
    }
  });

  it('mounts what another repository has', async () => {
    const blobs = blobsIn(join(temp, 'blobs'), large);
    await push(`${registry.host}/first:1`, large.manifest.digest, blobs);
    progress = [];
    const pushed = await push(`${registry.host}/second:1`, large.manifest.digest, blobs, [
      'absent',
      'first',
    ]);
    assert.equal(pushed.sentBytes, 0);
    assert.deepEqual(statesAtEnd(), ['mounted', 'mounted', 'mounted']);
    assert.equal((await fetchManifest('second/manifests/1'))[0], large.manifest.digest);
  });

  it('sends a whole index, images first, or the one image of it that is here', async () => {
    const entry = (image: typeof docker, architecture: string): object => ({
      ...descriptorOf(image.manifest),
      platform: { os: 'linux', architecture },
    });
    const manifests = [entry(foreign, 's390x'), entry(docker, ARCHITECTURE)];
    const index = makeBlob(
      'application/vnd.oci.image.index.v1+json',
      JSON.stringify({ schemaVersion: 2, manifests }),
    );
    const whole = blobsIn(join(temp, 'blobs'), index, foreign, docker);
    assert.equal((await push(`${registry.host}/i:1`, index.digest, whole)).digest, index.digest);
    assert.deepEqual(await fetchManifest('i/manifests/1'), [index.digest, index.mediaType]);
    const part = blobsIn(join(temp, 'blobs'), index, docker);
    const pushed = await push(`${registry.host}/part:1`, index.digest, part);
    assert.equal(pushed.digest, docker.manifest.digest);
    assert.equal((await fetchManifest('part/manifests/1'))[0], docker.manifest.digest);
    await assert.rejects(push(`${registry.host}/i:2`, index.digest, blobsIn(temp, index)), {
      kind: 'failed-precondition',
      message: /names 2 images, of which 0 are on this host/,
    });
  });

  it('goes on or begins anew after the network broke, and gives up after a few times', async () => {
    const proxy = await BreakingProxy.start(registry.host);
    try {
      Object.assign(proxy, { cuts: 2, bytes: 1 << 20 });
      const blobs = blobsIn(join(temp, 'blobs'), large);
      await push(`${proxy.host}/broken:1`, large.manifest.digest, blobs);
      assert.equal(proxy.cuts, 0);
      assert.equal((await fetchManifest('broken/manifests/1'))[0], large.manifest.digest);
      Object.assign(proxy, { cuts: 100, bytes: 1 << 20 });
      await assert.rejects(push(`${proxy.host}/worse:1`, large.manifest.digest, blobs), {
        kind: 'registry-unavailable',
        message: /cannot be reached/,
      });
    } finally {
      proxy.close();
    }
  });

  it('says what is missing here, and what the registry says', async () => {
    const [, ...layers] = docker.blobs;
    const blobs = blobsIn(join(temp, 'blobs'), docker.manifest, ...layers);
    await assert.rejects(push(`${registry.host}/m:1`, docker.manifest.digest, blobs), {
      kind: 'not-found',
      message: /^blob sha256:\w+ is not on this host: pull the image again$/,
    });
    await assert.rejects(
      push(`${registry.host}/m@${digestOf('other')}`, docker.manifest.digest, blobs),
      { kind: 'invalid-argument' },
    );
    const empty = makeBlob(docker.manifest.mediaType, 'damaged');
    const damaged = blobsIn(temp, { ...empty, digest: docker.manifest.digest });
    await assert.rejects(push(`${registry.host}/m:1`, docker.manifest.digest, damaged), {
      kind: 'data-loss',
      message: /is damaged/,
    });
    const lying = { ...docker.manifest, bytes: Buffer.from(docker.manifest.bytes) };
    assert.equal(lying.digest, docker.manifest.digest);
    const wrong = docker.blobs.map((blob) => ({
      ...blob,
      bytes: Buffer.alloc(blob.bytes.length, 'x'),
    }));
    await assert.rejects(
      push(`${registry.host}/m:1`, docker.manifest.digest, blobsIn(temp, lying, ...wrong)),
      { kind: 'invalid-argument', message: /answered 400 for the upload of blob .*: .*digest/ },
    );
  });
});
