import assert from 'node:assert/strict';
import { parseManifest, platformsOf, selectManifest, type Index } from '../../../src/core/oci.js';

const INDEX = 'application/vnd.oci.image.index.v1+json';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const digest = `sha256:${'a'.repeat(64)}`;
const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: 7 };
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: 9 };

function parse(document: unknown, mediaType = ''): ReturnType<typeof parseManifest> {
  return parseManifest(Buffer.from(JSON.stringify(document)), mediaType, 'manifest');
}

describe('parseManifest', () => {
  it('reads a manifest of OCI and of docker, and ignores what it does not know', () => {
    const manifest = parse({ schemaVersion: 2, config, layers: [layer], extra: 1 }, MANIFEST);
    assert.ok(manifest.kind === 'manifest');
    assert.equal(manifest.config.size, 7);
    assert.deepEqual(
      manifest.layers.map(({ digest: of, size }) => [of, size]),
      [[digest, 9]],
    );
    const docker = 'application/vnd.docker.';
    const read = parse({
      schemaVersion: 2,
      mediaType: `${docker}distribution.manifest.v2+json`,
      config: { ...config, mediaType: `${docker}container.image.v1+json` },
      layers: [{ ...layer, mediaType: `${docker}image.rootfs.diff.tar.gzip`, urls: ['http://x'] }],
    });
    assert.equal(read.kind, 'manifest');
  });

  const good = { schemaVersion: 2, config, layers: [layer] };
  const refused: Record<string, [unknown, string, RegExp]> = {
    'what is index and manifest': [
      { ...good, manifests: [] },
      '',
      /a manifest and an index at once/,
    ],
    'a manifest given as an index': [good, INDEX, /has media type .*index.*, which is no image/],
    'an index given as a manifest': [
      { schemaVersion: 2, manifests: [] },
      MANIFEST,
      /which is no index/,
    ],
    'two opinions of its type': [
      { ...good, mediaType: 'application/vnd.docker.distribution.manifest.v2+json' },
      MANIFEST,
      /says of itself to be/,
    ],
    'no version': [{ config, layers: [] }, '', /no schemaVersion 2/],
    'an encrypted layer': [
      { ...good, layers: [{ ...layer, mediaType: `${layer.mediaType}+encrypted` }] },
      '',
      /no layer this agent can unpack/,
    ],
    'a digest of another kind': [
      { ...good, layers: [{ ...layer, digest: `sha512:${'a'.repeat(128)}` }] },
      '',
      /is not a sha256 digest/,
    ],
    'a digest that is a path': [
      { ...good, layers: [{ ...layer, digest: 'sha256:../../etc' }] },
      '',
      /is not a sha256 digest/,
    ],
    'a size below zero': [
      { ...good, config: { ...config, size: -1 } },
      '',
      /not a number of bytes/,
    ],
    'a size beyond numbers': [{ ...good, config: { ...config, size: 1e300 } }, '', /not a number/],
    'a size in words': [{ ...good, config: { ...config, size: '7' } }, '', /not a number of bytes/],
    'a huge config': [{ ...good, config: { ...config, size: 9 << 20 } }, '', /larger than 8388608/],
    'too many layers': [{ ...good, layers: Array(128).fill(layer) }, '', /more than 127/],
    'layers that are none': [{ ...good, layers: {} }, '', /layers is not an array/],
    'an array': [[], '', /is not an object/],
  };
  for (const [title, [document, mediaType, message]] of Object.entries(refused)) {
    it(`refuses ${title}`, () => {
      assert.throws(() => parse(document, mediaType), { kind: 'invalid-argument', message });
    });
  }

  it('says what to do about schema 1', () => {
    const message = /schema 1, which is obsolete: push the image again/;
    assert.throws(() => parse({ schemaVersion: 1, fsLayers: [] }), {
      kind: 'failed-precondition',
      message,
    });
    const type = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
    assert.throws(() => parse({ schemaVersion: 1 }, type), { message });
  });

  it('refuses duplicate keys and 100 MB', () => {
    const twice = '{"schemaVersion":2,"layers":[],"layers":[]}';
    assert.throws(
      () => parseManifest(Buffer.from(twice), '', 'manifest'),
      /has key "layers" twice/,
    );
    assert.throws(
      () => parseManifest(Buffer.alloc(100_000_000, ' '), '', 'manifest'),
      /larger than 4194304 bytes/,
    );
  });
});

describe('selectManifest', () => {
  const entry = (architecture: string, variant = '', os = 'linux'): object => ({
    mediaType: MANIFEST,
    digest: `sha256:${Buffer.from(architecture + variant + os)
      .toString('hex')
      .padEnd(64, '0')}`,
    size: 1,
    platform: { architecture, os, variant },
  });
  const indexOf = (...manifests: object[]): Index => {
    const index = parse({ schemaVersion: 2, manifests }, INDEX);
    assert.ok(index.kind === 'index');
    return index;
  };
  const select = (index: Index, node: string): string => {
    const { platform } = selectManifest(index, platformsOf(node), 'index');
    return platform === null ? 'none' : `${platform.architecture}/${platform.variant}`;
  };

  it('takes the best variant for the host', () => {
    const arms = indexOf(entry('arm', 'v6'), entry('arm', 'v7'), entry('arm64', 'v8'));
    assert.equal(select(arms, 'arm'), 'arm/v7');
    assert.equal(select(arms, 'arm64'), 'arm64/v8');
    assert.equal(select(indexOf(entry('arm', 'v6')), 'arm'), 'arm/v6');
    const amds = indexOf(entry('amd64', 'v3'), entry('amd64'), entry('amd64', '', 'windows'));
    assert.equal(select(amds, 'x64'), 'amd64/');
  });

  it('takes an entry without a platform when no other fits', () => {
    const unnamed = { mediaType: MANIFEST, digest, size: 1 };
    assert.equal(select(indexOf(unnamed, entry('amd64')), 'x64'), 'amd64/');
    assert.equal(select(indexOf(unnamed, entry('s390x')), 'x64'), 'none');
  });

  it('names what there is when nothing fits', () => {
    const index = indexOf(entry('s390x'), entry('amd64', 'v3'), entry('unknown', '', 'unknown'));
    assert.throws(() => select(index, 'x64'), {
      kind: 'not-found',
      message:
        'index has no image for linux/amd64, only for linux/s390x, linux/amd64/v3, unknown/unknown',
    });
    assert.throws(() => select(indexOf(), 'x64'), /only for nothing/);
  });
});
