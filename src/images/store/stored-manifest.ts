/** The manifest that an image of the store can be handed on with. */
import { sha256Of } from '../../core/digest.js';
import { RuntimeError } from '../../core/errors.js';
import { asObject, asString, optional } from '../../core/json-shape.js';
import {
  MAX_MANIFEST_BYTES,
  parseManifest,
  type Descriptor,
  type Manifest,
} from '../../core/oci.js';
import { parseStrictJson } from '../../core/strict-json.js';
import type { BlobStore } from './blob-store.js';
import type { StoredImage } from './image-records.js';
import { readPart } from '../archive/layout-files.js';

export interface StoredManifest {
  digest: string;
  mediaType: string;
  bytes: Uint8Array;
  manifest: Manifest;
}

/** One with all of its blobs there; an image that was pulled twice may have several. */
export async function storedManifest(
  blobs: BlobStore,
  image: StoredImage,
): Promise<StoredManifest> {
  let lacking: string | undefined;
  for (const digest of image.blobs) {
    if (image.files ? digest !== image.id : digest === image.id) continue;
    const found = await readManifest(blobs, digest);
    if (found === undefined || !(image.files || found.manifest.config.digest === image.id))
      continue;
    lacking = [found.manifest.config, ...found.manifest.layers].find(
      (descriptor) => !blobs.has(descriptor.digest),
    )?.digest;
    if (lacking === undefined) return found;
  }
  throw new RuntimeError(
    'failed-precondition',
    `image ${image.id} cannot be handed on: ${lacking === undefined ? 'its manifest' : `blob ${lacking}`} is not kept; pull it again`,
  );
}

/**
 * The layers of an image by one of its manifests, whether their blobs are kept or not; [] where no sound
 * manifest is.
 */
export async function storedLayers(blobs: BlobStore, image: StoredImage): Promise<Descriptor[]> {
  if (image.layers.length === 0) return [];
  for (const digest of image.blobs.filter((each) => each !== image.id)) {
    try {
      const found = await readManifest(blobs, digest);
      if (found && sha256Of(found.bytes) === digest && found.manifest.config.digest === image.id) {
        return found.manifest.layers;
      }
    } catch (error) {
      if (!(error instanceof RuntimeError)) throw error;
    }
  }
  return [];
}

/** undefined for an index, and for what is not there. */
async function readManifest(blobs: BlobStore, digest: string): Promise<StoredManifest | undefined> {
  const bytes = await readDocument(blobs, digest, MAX_MANIFEST_BYTES);
  if (bytes === undefined) return undefined;
  const what = `manifest ${digest}`;
  const manifest = parseManifest(bytes, '', what);
  if (manifest.kind === 'index') return undefined;
  const document = asObject(parseStrictJson(bytes, what, MAX_MANIFEST_BYTES), what);
  const isDocker = manifest.config.mediaType.startsWith('application/vnd.docker.');
  // Of OCI's own manifests the media type may stand outside alone.
  const mediaType = optional(document, 'mediaType', what, asString, isDocker ? DOCKER : OCI);
  return { digest, mediaType, bytes, manifest };
}

const OCI = 'application/vnd.oci.image.manifest.v1+json';
const DOCKER = 'application/vnd.docker.distribution.manifest.v2+json';

export async function readDocument(
  blobs: BlobStore,
  digest: string,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  const blob = await blobs.openBlob(digest);
  if (blob === undefined) return undefined;
  try {
    const part = { file: blob.file, offset: 0, length: blob.size };
    return await readPart(part, `blob ${digest}`, maxBytes);
  } finally {
    await blob.file.close();
  }
}
