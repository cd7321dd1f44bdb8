/** Images of the store as one archive: an OCI image layout, or what `docker save` writes. */
import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { hexOf } from '../../core/digest.js';
import { RuntimeError } from '../../core/errors.js';
import { imageName, parseImageReference } from '../../core/image-reference.js';
import type { ArchiveFormat } from '../../core/ports/images.js';
import type { BlobStore } from '../store/blob-store.js';
import { writeContent } from '../unpack/content-file.js';
import type { StoredImage } from '../store/image-records.js';
import { storedManifest, type StoredManifest } from '../store/stored-manifest.js';
import { TAR_END, tarHeader, tarPadding } from './tar-header.js';
import type { Unpack } from '../unpack/unpack-process.js';

export interface SaveWork {
  blobs: BlobStore;
  unpack: Unpack;
  temporaryFolder: string;
  signal: AbortSignal;
}

export interface SavedImage {
  image: StoredImage;
  /** Full references with a tag. */
  names: readonly string[];
}

type Kept = SavedImage & { kept: StoredManifest };

const CHUNK_BYTES = 256 << 10;

/** What is wrong with an image is found before the first byte. */
export async function* saveImages(
  work: SaveWork,
  images: readonly SavedImage[],
  format: ArchiveFormat,
): AsyncGenerator<Buffer> {
  const { blobs } = work;
  const unpin = blobs.pin(images.flatMap(({ image }) => [...image.blobs, ...image.layerBlobs]));
  try {
    const all: Kept[] = [];
    for (const one of images) all.push({ ...one, kept: await storedManifest(blobs, one.image) });
    const artifact = all.find(({ image }) => image.files);
    if (artifact && format !== 'oci-archive') {
      throw new RuntimeError(
        'invalid-argument',
        `${artifact.image.id} is an artifact, which docker's archives cannot hold: save it as oci-archive`,
      );
    }
    yield* format === 'oci-archive' ? saveLayout(work, all) : saveDocker(work, all);
    yield TAR_END;
  } finally {
    unpin();
  }
}

async function* saveLayout(work: SaveWork, images: readonly Kept[]): AsyncGenerator<Buffer> {
  const manifests = images.flatMap(({ names, kept: { digest, mediaType, bytes, manifest } }) => {
    const descriptor = { mediaType, digest, size: bytes.length, ...platformOf(manifest.config) };
    if (names.length === 0) return [descriptor];
    // docker and containerd read the one, podman and skopeo the other.
    return names.map((name) => ({
      ...descriptor,
      annotations: {
        'io.containerd.image.name': name,
        'org.opencontainers.image.ref.name': name,
      },
    }));
  });
  yield* document('oci-layout', { imageLayoutVersion: '1.0.0' });
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  yield* document('index.json', { schemaVersion: 2, mediaType, manifests });
  const digests = images.flatMap(({ kept: { digest, manifest } }) => [
    digest,
    ...[manifest.config, ...manifest.layers].map((descriptor) => descriptor.digest),
  ]);
  for (const digest of new Set(digests)) {
    yield* blobMember(work, digest, `blobs/sha256/${hexOf(digest)}`);
  }
}

function platformOf({ platform }: { platform: object | null }): { platform?: object } {
  return platform === null ? {} : { platform };
}

/** Layers are uncompressed there: each is written to a file first, for tar wants its size. */
async function* saveDocker(work: SaveWork, images: readonly Kept[]): AsyncGenerator<Buffer> {
  const written = new Set<string>();
  const entries: object[] = [];
  const repositories = new Map<string, Record<string, string>>();
  for (const { image, names, kept } of images) {
    const config = `${hexOf(image.id)}.json`;
    if (!written.has(config)) yield* blobMember(work, image.id, config);
    written.add(config);
    for (const [index, { digest }] of kept.manifest.layers.entries()) {
      const diffId = image.layers[index] ?? '';
      if (!written.has(diffId)) yield* layerMember(work, digest, diffId);
      written.add(diffId);
    }
    const layers = image.layers.map((diffId) => `${hexOf(diffId)}.tar`);
    entries.push({ Config: config, RepoTags: names, Layers: layers });
    for (const name of names) {
      const reference = parseImageReference(name);
      const repository = imageName(reference);
      const top = hexOf(image.layers.at(-1) ?? image.id);
      repositories.set(repository, { ...repositories.get(repository), [reference.tag]: top });
    }
  }
  yield* document('manifest.json', entries);
  yield* document('repositories', Object.fromEntries(repositories));
}

async function* layerMember(
  work: SaveWork,
  digest: string,
  diffId: string,
): AsyncGenerator<Buffer> {
  const blob = await work.blobs.openBlob(digest);
  if (blob === undefined) throw lost(digest);
  let content;
  try {
    const { file, size: length } = blob;
    content = await writeContent(work.unpack, { ...work, file, length, diffId, digest });
  } finally {
    await blob.file.close();
  }
  try {
    const file = await open(content.path, 'r');
    yield* member(file, content.size, `${hexOf(diffId)}.tar`, diffId);
  } finally {
    await content.remove();
  }
}

async function* blobMember(work: SaveWork, digest: string, name: string): AsyncGenerator<Buffer> {
  const blob = await work.blobs.openBlob(digest);
  if (blob === undefined) throw lost(digest);
  yield* member(blob.file, blob.size, name, digest);
}

/** Closes the file. What has changed on the disk is not handed on unnoticed. */
async function* member(
  file: FileHandle,
  size: number,
  name: string,
  digest: string,
): AsyncGenerator<Buffer> {
  try {
    yield tarHeader(name, size);
    const hash = createHash('sha256');
    for (let at = 0; at < size;) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, size - at));
      const { bytesRead } = await file.read(chunk, 0, chunk.length, at);
      if (bytesRead === 0) throw lost(digest);
      const bytes = chunk.subarray(0, bytesRead);
      hash.update(bytes);
      at += bytesRead;
      yield bytes;
    }
    if (`sha256:${hash.digest('hex')}` !== digest) throw lost(digest);
    yield tarPadding(size);
  } finally {
    await file.close();
  }
}

function* document(name: string, content: object): Generator<Buffer> {
  const bytes = Buffer.from(JSON.stringify(content));
  yield tarHeader(name, bytes.length);
  yield bytes;
  yield tarPadding(bytes.length);
}

function lost(digest: string): RuntimeError {
  return new RuntimeError(
    'data-loss',
    `blob ${digest} is damaged or gone: remove the image and pull it again`,
  );
}
