/** Layers that are unpacked while they come: what is seen of them meanwhile, and when it goes wrong. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RuntimeError } from '../../../src/core/errors.js';
import type { ImageSource, LayerRequest } from '../../../src/images/source/image-source.js';
import { layerFiles, openImages, type OpenedImages } from '../../support/images.js';
import { buildImage, type BuiltImage } from '../../support/oci-image.js';
import { until } from '../../support/processes.js';
import { file } from '../../support/tar.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

const REFERENCE = '127.0.0.1:1/x:v1';
const plain = (bytes: Buffer): { bytes: Buffer; suffix: string } => ({ bytes, suffix: '' });
/** More than the helper's steps of progress, which are 4 MiB. */
const content = randomBytes(12 << 20);
const image = buildImage({ layers: [[file('large', content)]], compress: plain });
const HALF = 9 << 20;

type Fetch = (request: LayerRequest, bytes: Buffer) => Promise<void>;

function sourceOf({ manifest, blobs }: BuiltImage, fetch: Fetch): ImageSource {
  const bytesOf = (digest: string): Buffer => {
    const blob = [manifest, ...blobs].find((each) => each.digest === digest);
    return blob?.bytes ?? Buffer.alloc(0);
  };
  return {
    resolve: () => Promise.resolve({ ...manifest, repoTag: REFERENCE, repoDigest: '' }),
    fetchDocument: ({ digest }) => Promise.resolve(bytesOf(digest)),
    fetchLayer: (request) => fetch(request, bytesOf(request.descriptor.digest)),
  };
}

async function deliver(request: LayerRequest, bytes: Buffer, position = 0): Promise<void> {
  await request.file.write(bytes, 0, bytes.length, position);
  request.onBytes(position + bytes.length);
}

describe('unpack of a layer that is still coming', () => {
  let temp: string;
  let images: OpenedImages;
  let fetch: Fetch;

  beforeEach(async () => {
    temp = makeTempFolder();
    images = await openImages(join(temp, 'images'), () =>
      Promise.resolve(sourceOf(image, (...given) => fetch(...given))),
    );
  });
  afterEach(() => {
    images.close();
    removeTempFolder(temp);
  });

  const unpacked = (): number =>
    images.store.pullsUnderWay()[0]?.snapshot().layers[0]?.unpackedBytes ?? 0;
  const hasUnpacked = (): Promise<void> => until(() => unpacked() > 0);

  function assertNothingLeft(): void {
    assert.deepEqual(images.store.list(), []);
    for (const name of ['tmp', 'records', 'blobs/sha256'])
      assert.deepEqual(readdirSync(join(images.root, name)), [], name);
    const layers = readdirSync(join(images.root, 'layers')).filter((name) => name !== 'tmp');
    assert.deepEqual(
      layers.filter((name) => /^[0-9a-f]{64}$/.test(name)),
      [],
    );
  }

  it('unpacks the first half ahead of the second', async () => {
    let atHalf = 0;
    fetch = async (request, bytes) => {
      await deliver(request, bytes.subarray(0, HALF));
      await hasUnpacked();
      atHalf = unpacked();
      await deliver(request, bytes.subarray(HALF), HALF);
    };
    const pulled = await images.store.pull(REFERENCE, null, {});
    assert.ok(atHalf > 0 && atHalf <= HALF, `${atHalf}`);
    const path = join(layerFiles(images.root, pulled.layers[0] ?? ''), 'large');
    assert.ok(readFileSync(path).equals(content));
  });

  it('lets nobody see what turns out wrong at its end', async () => {
    fetch = async (request, bytes) => {
      await deliver(request, bytes);
      await hasUnpacked();
      throw new RuntimeError('data-loss', 'the blob is another');
    };
    await assert.rejects(images.store.pull(REFERENCE, null, {}), {
      kind: 'data-loss',
      message: /the blob is another/,
    });
    assertNothingLeft();
  });

  it('takes a blob that begins anew', async () => {
    fetch = async (request, bytes) => {
      await deliver(request, bytes.subarray(0, HALF));
      await hasUnpacked();
      // From a server that knows no ranges: over what is there already.
      await deliver(request, bytes.subarray(0, 100));
      await deliver(request, bytes);
    };
    const pulled = await images.store.pull(REFERENCE, null, {});
    assert.equal(pulled.id, image.id);
  });

  it('ends with the caller, in the middle', async () => {
    const stop = new AbortController();
    fetch = async (request, bytes) => {
      await deliver(request, bytes.subarray(0, HALF));
      await hasUnpacked();
      stop.abort(new Error('enough'));
      request.signal.throwIfAborted();
    };
    const pulling = images.store.pull(REFERENCE, null, { signal: stop.signal });
    await assert.rejects(pulling, { kind: 'cancelled' });
    await until(() => images.store.pullsUnderWay().length === 0);
    assertNothingLeft();
  });

  it('fetches no more of a layer that is refused', async () => {
    const bad = buildImage({
      layers: [[file('../out', ''), file('large', content)]],
      compress: plain,
    });
    images.close();
    images = await openImages(join(temp, 'images'), () =>
      Promise.resolve(
        sourceOf(bad, async (request, bytes) => {
          await deliver(request, bytes.subarray(0, HALF));
          if (!request.signal.aborted) await once(request.signal, 'abort');
          throw request.signal.reason;
        }),
      ),
    );
    await assert.rejects(images.store.pull(REFERENCE, null, {}), {
      kind: 'invalid-argument',
      message: /leads out/,
    });
    assertNothingLeft();
  });

  it('says of a blob that ends early that it does', async () => {
    fetch = (request, bytes) => deliver(request, bytes.subarray(0, HALF));
    await assert.rejects(images.store.pull(REFERENCE, null, {}), {
      kind: 'data-loss',
      message: /the blob is truncated: 9437184 of/,
    });
    assertNothingLeft();
  });
});
