/** One pull: from a source's root document to layers on disk and the record of an image. */
import { createHash } from 'node:crypto';
import { RuntimeError } from '../../core/errors.js';
import type { ImageId } from '../../core/ids.js';
import { artifactFiles } from '../../core/artifact.js';
import {
  EMPTY_CONFIG,
  parseImageConfig,
  type ImageConfigDocument,
} from '../../core/image-config.js';
import type { ImageRecord } from '../../core/model.js';
import {
  formatPlatform,
  MAX_CONFIG_BYTES,
  MAX_MANIFEST_BYTES,
  parseManifest,
  selectManifest,
} from '../../core/oci.js';
import type { Descriptor, Manifest, Platform } from '../../core/oci.js';
import { layerKeys } from '../../core/layer-key.js';
import type { LayerKey } from '../../core/ports/storage.js';
import { Limit } from '../../util/limit.js';
import type { BlobStore } from '../store/blob-store.js';
import type { ImageSource, RootDocument } from '../source/image-source.js';
import type { LayerStore, LayerWanted } from '../store/layer-store.js';
import type { LayerCounters, PullProgress } from './pull-progress.js';

export interface PulledImage {
  record: ImageRecord;
  /** Index, manifest and config as they came, by digest. */
  blobs: ReadonlyMap<string, Uint8Array>;
  /** Of an artifact the digests of its files, which are in the blob store. */
  fileBlobs?: readonly string[];
  /** Digests of the compressed layers, which are in the blob store. */
  layerBlobs: readonly string[];
  /** Its repoDigests, where everybody may have it. */
  publicDigests: readonly string[];
}

export interface PullWork {
  source: ImageSource;
  layers: LayerStore;
  blobs: BlobStore;
  /** What this host can run, best first. */
  platforms: readonly Platform[];
  /** Throws for an image that this host does not accept; told of the root document and the manifest. */
  admit: (digests: readonly string[]) => Promise<unknown>;
  /** A registry is asked without credentials. */
  isPublic: boolean;
  signal: AbortSignal;
  progress: PullProgress;
}

/** An index may list indexes, but nobody needs more of them in a row. */
const MOST_INDEXES = 3;
const PARALLEL_LAYERS = 3;

/**
 * Fetches and unpacks what is missing. Layers and blobs stay pinned until `commit` has returned, so that
 * nothing collects them before the record exists.
 */
export async function pullImage<T>(
  work: PullWork,
  commit: (pulled: PulledImage) => Promise<T>,
): Promise<T> {
  const blobs = new Map<string, Uint8Array>();
  const { root, manifest } = await resolveManifest(work, blobs);
  await work.admit([...blobs.keys()]);
  if (manifest.isArtifact) return pullArtifact(work, { root, manifest }, blobs, commit);
  const config = await fetchConfig(work, manifest, blobs);
  const layerBlobs = manifest.layers.map(({ digest }) => digest);
  const keys = layerKeys(config.diffIds, work.layers.keyedBy);
  const unpinLayers = work.layers.pin(keys.map(({ key }) => key));
  const unpinBlobs = work.blobs.pin([...blobs.keys(), ...layerBlobs]);
  try {
    await fetchLayers(work, manifest, keys);
    const record = makeRecord(root, manifest, config);
    return await commit({ record, blobs, layerBlobs, publicDigests: publicDigests(work, record) });
  } finally {
    unpinLayers();
    unpinBlobs();
  }
}

/** Blobs are all there is of it: kept, and never unpacked. */
async function pullArtifact<T>(
  work: PullWork,
  { root, manifest }: { root: RootDocument; manifest: Manifest },
  blobs: Map<string, Uint8Array>,
  commit: (pulled: PulledImage) => Promise<T>,
): Promise<T> {
  const id = ([...blobs.keys()].at(-1) ?? root.digest) as ImageId;
  const files = artifactFiles(manifest.layers, `artifact ${id}`);
  const { config, layers } = manifest;
  blobs.set(config.digest, await fetchVerified(work, config, MAX_CONFIG_BYTES, 'config'));
  const needed = [...new Set([...blobs.keys(), ...layers.map(({ digest }) => digest)])];
  const unpin = work.blobs.pin(needed);
  try {
    const wanted = new Map(layers.map((layer) => [layer.digest, layer]));
    await fetchFiles(work, [...wanted.values()]);
    const record: ImageRecord = {
      ...makeRecord(root, manifest, { config: EMPTY_CONFIG, diffIds: [], created: '' }),
      id,
      files,
    };
    return await commit({
      record,
      blobs,
      fileBlobs: [...wanted.keys()],
      layerBlobs: [],
      publicDigests: publicDigests(work, record),
    });
  } finally {
    unpin();
  }
}

async function fetchFile(
  { blobs, source }: PullWork,
  descriptor: Descriptor,
  signal: AbortSignal,
  counters: LayerCounters,
): Promise<void> {
  if (!blobs.has(descriptor.digest)) {
    const draft = await blobs.draft(descriptor.digest);
    try {
      const onBytes = (done: number): void => {
        counters.downloaded(done);
      };
      await source.fetchLayer({ descriptor, file: draft.file, signal, onBytes });
      await draft.commit();
    } finally {
      await draft.release();
    }
  }
  counters.finish();
}

/** Adds the root document and what leads from it to the manifest of this host's platform to `blobs`. */
export async function resolveManifest(
  work: Resolving,
  blobs: Map<string, Uint8Array>,
): Promise<{ root: RootDocument; manifest: Manifest }> {
  const root = await work.source.resolve(work.signal);
  verify(root.digest, root.bytes, 'manifest');
  blobs.set(root.digest, root.bytes);
  return { root, manifest: await findManifest(work, root, blobs) };
}

type Resolving = Pick<PullWork, 'source' | 'platforms' | 'signal'> &
  Partial<Pick<PullWork, 'blobs'>>;

async function findManifest(
  work: Resolving,
  root: RootDocument,
  blobs: Map<string, Uint8Array>,
): Promise<Manifest> {
  let document = parseManifest(root.bytes, root.mediaType, `manifest ${root.digest}`);
  for (let depth = 0; document.kind === 'index'; depth += 1) {
    if (depth === MOST_INDEXES) {
      throw new RuntimeError('invalid-argument', `index ${root.digest} nests too many indexes`);
    }
    const what = `index ${root.digest}`;
    const descriptor = selectManifest(document, work.platforms, what);
    const bytes = await fetchVerified(work, descriptor, MAX_MANIFEST_BYTES, 'manifest');
    blobs.set(descriptor.digest, bytes);
    document = parseManifest(bytes, descriptor.mediaType, `manifest ${descriptor.digest}`);
  }
  return document;
}

async function fetchConfig(
  work: PullWork,
  { config, layers }: Manifest,
  blobs: Map<string, Uint8Array>,
): Promise<ImageConfigDocument> {
  const what = `config ${config.digest}`;
  const bytes = await fetchVerified(work, config, MAX_CONFIG_BYTES, 'config');
  const document = parseImageConfig(bytes, what);
  if (document.diffIds.length !== layers.length) {
    throw new RuntimeError(
      'invalid-argument',
      `${what} has ${document.diffIds.length} diff_ids for ${layers.length} layers`,
    );
  }
  const { os, architecture } = document.platform;
  const isOurs = work.platforms.some(
    (ours) => ours.os === os && ours.architecture === architecture,
  );
  if (!isOurs) {
    throw new RuntimeError(
      'not-found',
      `${what} is an image for ${formatPlatform(document.platform)}, not for ${formatPlatform(work.platforms[0] ?? null)}`,
    );
  }
  blobs.set(config.digest, bytes);
  return document;
}

async function fetchVerified(
  work: Resolving,
  descriptor: Descriptor,
  maxBytes: number,
  what: string,
): Promise<Uint8Array> {
  if (descriptor.size > maxBytes) {
    throw new RuntimeError(
      'invalid-argument',
      `${what} ${descriptor.digest} is larger than ${maxBytes} bytes`,
    );
  }
  const kept = await readKept(work.blobs, descriptor);
  if (kept !== undefined) return kept;
  const bytes = await work.source.fetchDocument(descriptor, maxBytes, work.signal);
  verify(descriptor.digest, bytes, what);
  return bytes;
}

/** A document that an earlier pull has brought; undefined for one that is not there, or damaged. */
async function readKept(
  blobs: BlobStore | undefined,
  { digest, size }: Descriptor,
): Promise<Uint8Array | undefined> {
  const opened = await blobs?.openBlob(digest);
  if (!opened) return undefined;
  try {
    if (opened.size !== size) return undefined;
    const bytes = await opened.file.readFile();
    return digestOf(bytes) === digest ? bytes : undefined;
  } finally {
    await opened.file.close();
  }
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function verify(digest: string, bytes: Uint8Array, what: string): void {
  const actual = digestOf(bytes);
  if (actual === digest) return;
  throw new RuntimeError('data-loss', `${what} ${digest} came with content of digest ${actual}`);
}

/** A few at a time. The first failure stops the others, and is thrown once they have cleaned up. */
async function fetchLayers(
  work: PullWork,
  manifest: Manifest,
  keys: readonly LayerKey[],
): Promise<void> {
  const limit = new Limit(PARALLEL_LAYERS);
  const failed = new AbortController();
  const signal = AbortSignal.any([work.signal, failed.signal]);
  let failure: { error: unknown } | undefined;
  let below: Promise<void> = Promise.resolve();
  const all: Promise<void>[] = [];
  for (const [index, layer] of keys.entries()) {
    const descriptor = manifest.layers[index];
    if (descriptor === undefined) break;
    const counters = work.progress.addLayer(descriptor.digest, descriptor.size);
    const parentReady = layer.parent === null ? Promise.resolve() : below;
    const wanted = { layer, descriptor, source: work.source, parentReady };
    const done = limit.run(() => fetchLayer(work, wanted, signal, counters));
    below = done;
    all.push(
      done.catch((error: unknown) => {
        failure ??= { error };
        failed.abort(error);
      }),
    );
  }
  await Promise.all(all);
  if (failure) throw failure.error;
}

/** The same of blobs that do not know each other. */
async function fetchFiles(work: PullWork, files: readonly Descriptor[]): Promise<void> {
  const limit = new Limit(PARALLEL_LAYERS);
  const failed = new AbortController();
  const signal = AbortSignal.any([work.signal, failed.signal]);
  let failure: { error: unknown } | undefined;
  await Promise.all(
    files.map(async (descriptor) => {
      const counters = work.progress.addLayer(descriptor.digest, descriptor.size);
      try {
        await limit.run(() => fetchFile(work, descriptor, signal, counters));
      } catch (error) {
        failure ??= { error };
        failed.abort(error);
      }
    }),
  );
  if (failure) throw failure.error;
}

async function fetchLayer(
  { layers }: PullWork,
  wanted: LayerWanted,
  signal: AbortSignal,
  counters: LayerCounters,
): Promise<void> {
  await layers.ensure(wanted, signal, counters);
  counters.finish();
}

function publicDigests({ isPublic }: PullWork, { repoDigests }: ImageRecord): readonly string[] {
  return isPublic ? repoDigests : [];
}

function makeRecord(
  root: RootDocument,
  manifest: Manifest,
  { config, diffIds, created }: Pick<ImageConfigDocument, 'config' | 'diffIds' | 'created'>,
): ImageRecord {
  return {
    version: 1,
    id: manifest.config.digest as ImageId,
    repoTags: root.repoTag === '' ? [] : [root.repoTag],
    repoDigests: root.repoDigest === '' ? [] : [root.repoDigest],
    size: manifest.layers.reduce((sum, { size }) => sum + size, manifest.config.size),
    layers: diffIds,
    config,
    createdAt: created,
    pulledAt: `${BigInt(Date.now()) * 1_000_000n}`,
  };
}
