/** Images on the admin service: listed, named, removed, saved to archives, sent to registries. */
import { RuntimeError } from '../core/errors.js';
import type { ImageId } from '../core/ids.js';
import type { ImageRecord } from '../core/model.js';
import type { BlobPush } from '../core/ports/images.js';
import type { RuntimeContext } from '../runtime/context.js';
import { prunableImages, pruneImages as prune } from '../runtime/image-prune.js';
import type { Caller } from './event-stream.js';
import {
  ArchiveFormat,
  PushState,
  type ImageSummary,
  type ListImagesResponse,
  type PruneImagesRequest,
  type PruneImagesResponse,
  type PushBlob,
  type PushImageEvent,
  type PushImageRequest,
  type SaveImagesPiece,
  type SaveImagesRequest,
  type TagImageRequest,
  type TagImageResponse,
} from './gen/admin.js';
import { pause, toAuth } from './pull-calls.js';

export function listImages({ images }: RuntimeContext): ListImagesResponse {
  return { images: images.list().map(toSummary) };
}

export async function tagImage(
  { images }: RuntimeContext,
  { reference, name }: TagImageRequest,
): Promise<TagImageResponse> {
  const { id } = await images.tag(
    named('TagImage', 'reference', reference),
    named('TagImage', 'name', name),
  );
  return { imageId: id };
}

export async function pruneImages(
  context: RuntimeContext,
  { all, dryRun, pulledBefore }: PruneImagesRequest,
): Promise<PruneImagesResponse> {
  const options = { all, ...(pulledBefore > 0n && { pulledBefore }) };
  const sizes = new Map(context.images.list().map(({ id, size }) => [id, size]));
  const sizeOf = (id: ImageId): bigint => BigInt(sizes.get(id) ?? 0);
  if (dryRun) {
    const removed = prunableImages(context, options).map(({ id, repoTags, repoDigests }) => ({
      id,
      names: repoTags.length > 0 ? repoTags : repoDigests,
      size: sizeOf(id),
      reason: '',
    }));
    return { removed, failed: [], freedBytes: 0n };
  }
  const { removed, failed, freedBytes } = await prune(context, options);
  return {
    removed: removed.map(({ id, names }) => ({ id, names, size: sizeOf(id), reason: '' })),
    failed: failed.map(({ id, names, reason }) => ({ id, names, size: sizeOf(id), reason })),
    freedBytes: BigInt(freedBytes),
  };
}

export async function saveImages(
  { images }: RuntimeContext,
  { references, format }: SaveImagesRequest,
  { gone, send }: Caller<SaveImagesPiece>,
): Promise<void> {
  if (references.length === 0)
    throw new RuntimeError('invalid-argument', 'SaveImages: references is empty: name an image');
  const pieces = images.save(references, formatOf(format), gone);
  for await (const piece of pieces) {
    await send({ data: Buffer.from(piece.buffer, piece.byteOffset, piece.length) });
  }
}

function formatOf(format: ArchiveFormat): 'oci-archive' | 'docker-archive' {
  if (format === ArchiveFormat.ARCHIVE_FORMAT_OCI) return 'oci-archive';
  if (format === ArchiveFormat.ARCHIVE_FORMAT_DOCKER) return 'docker-archive';
  throw new RuntimeError('invalid-argument', `SaveImages: format ${format} is unknown`);
}

export async function pushImage(
  { images }: RuntimeContext,
  { reference, destination, auth }: PushImageRequest,
  { gone, send }: Caller<PushImageEvent>,
): Promise<void> {
  named('PushImage', 'reference', reference);
  named('PushImage', 'destination', destination);
  const blobs = new Map<string, PushBlob>();
  const state = { changed: false };
  const over = new AbortController();
  const tell = async (): Promise<void> => {
    if (!state.changed) return;
    state.changed = false;
    await send({ event: { $case: 'progress', value: { blobs: [...blobs.values()] } } });
  };
  const watching = (async () => {
    while (!over.signal.aborted) {
      await tell();
      await pause(over.signal);
    }
  })();
  watching.catch(() => undefined);
  try {
    const { digest, sentBytes } = await images.push(reference, destination, toAuth(auth), {
      signal: gone,
      onProgress: (blob) => {
        blobs.set(blob.digest, toBlob(blob));
        state.changed = true;
      },
    });
    over.abort();
    await watching;
    await tell();
    await send({
      event: { $case: 'pushed', value: { digest, sentBytes: BigInt(sentBytes) } },
    });
  } finally {
    over.abort();
    await watching.catch(() => undefined);
  }
}

function toBlob({ digest, size, sentBytes, state }: BlobPush): PushBlob {
  return { digest, size: BigInt(size), sentBytes: BigInt(sentBytes), state: STATES[state] };
}

const STATES: Readonly<Record<BlobPush['state'], PushState>> = {
  waiting: PushState.PUSH_STATE_WAITING,
  uploading: PushState.PUSH_STATE_UPLOADING,
  done: PushState.PUSH_STATE_DONE,
  present: PushState.PUSH_STATE_PRESENT,
  mounted: PushState.PUSH_STATE_MOUNTED,
};

function toSummary(image: ImageRecord): ImageSummary {
  return {
    id: image.id,
    repoTags: image.repoTags,
    repoDigests: image.repoDigests,
    size: BigInt(image.size),
    createdAt: image.createdAt,
    pulledAt: BigInt(image.pulledAt),
    labels: new Map(image.config.labels),
  };
}

function named(rpc: string, field: string, value: string): string {
  if (value !== '') return value;
  throw new RuntimeError('invalid-argument', `${rpc}: ${field} is empty: name an image`);
}
