/** Looks for damage in the image store; mends layers from their blobs, quarantines what cannot be mended. */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { RuntimeError } from '../../core/errors.js';
import type { ImageId } from '../../core/ids.js';
import type { CheckOptions, ImageCheck, ImageFinding } from '../../core/image-check.js';
import { layerKeys } from '../../core/layer-key.js';
import type { ImageRecord } from '../../core/model.js';
import type { Descriptor } from '../../core/oci.js';
import type { LayerKey } from '../../core/ports/storage.js';
import type { BlobStore } from './blob-store.js';
import type { StoredImage } from './image-records.js';
import type { ImageSource } from '../source/image-source.js';
import { SILENT, type LayerStore } from './layer-store.js';
import { storedLayers } from './stored-manifest.js';

/** The store as a check sees it. */
export interface CheckedStore {
  blobs: BlobStore;
  layers: LayerStore;
  images(): StoredImage[];
  /** Not listed, since a layer is known to be missing or damaged. */
  withheld(): { image: StoredImage; reason: string }[];
  /** False when the image is not there any more. */
  withhold(image: StoredImage, reason: string): Promise<boolean>;
  giveBack(id: ImageId): Promise<void>;
  quarantine(id: ImageId, reason: string): Promise<boolean>;
}

interface Run {
  store: CheckedStore;
  options: CheckOptions;
  /** Of what is mended. */
  signal: AbortSignal;
  /** Of what is looked at. */
  looking: AbortSignal;
  found(finding: ImageFinding): void;
}

const CHUNK_BYTES = 256 << 10;

export async function checkStore(store: CheckedStore, options: CheckOptions): Promise<ImageCheck> {
  const signal = options.signal ?? new AbortController().signal;
  const { depth, enough, onFinding } = options;
  const findings: ImageFinding[] = [];
  const run: Run = {
    store,
    options,
    signal,
    looking: enough ? AbortSignal.any([signal, enough]) : signal,
    found: (finding) => {
      findings.push(finding);
      onFinding?.(finding);
    },
  };
  const images = chosenImages(run).length + store.withheld().length;
  const looked = { images, blobs: 0, layers: 0 };
  try {
    if (depth !== 'known') {
      looked.blobs = await checkBlobs(run);
      looked.layers = await checkLayers(run);
    }
  } finally {
    // Whatever has ended the looking: nobody else would mend what it found.
    for (const { image, reason } of store.withheld()) {
      if (!signal.aborted) await mendImage(run, image, reason);
    }
  }
  return { depth, ...looked, findings };
}

function chosenImages({ store, options }: Run): StoredImage[] {
  const { images } = options;
  return store.images().filter(({ id }) => images?.has(id) ?? true);
}

async function checkBlobs(run: Run): Promise<number> {
  const { blobs } = run.store;
  const chosen = run.options.images && chosenImages(run);
  const digests = [...blobs.list()]
    .map(([digest]) => digest)
    .filter((digest) => chosen?.some((image) => uses(image, digest)) ?? true);
  for (const digest of digests) {
    run.looking.throwIfAborted();
    const reason = await findBlobDamage(run, digest);
    if (reason === null) continue;
    // Gone first: whoever pulls from now on fetches it anew.
    await blobs.discard(digest);
    const users = run.store.images().filter((image) => uses(image, digest));
    const broken = users.filter((image) => image.blobs.includes(digest));
    for (const image of broken) {
      await run.store.quarantine(image.id, `blob ${digest} is damaged: ${reason}`);
    }
    const outcome = broken.length > 0 ? 'quarantined' : 'incomplete';
    run.found({ what: 'blob', digest, reason, outcome, images: named(users) });
  }
  return digests.length;
}

function uses(image: StoredImage, digest: string): boolean {
  return image.blobs.includes(digest) || image.layerBlobs.includes(digest);
}

/** null for a sound blob, and for one that was removed meanwhile. */
async function findBlobDamage(run: Run, digest: string): Promise<string | null> {
  const opened = await run.store.blobs.openBlob(digest);
  if (!opened) return null;
  const hash = createHash('sha256');
  const chunk = Buffer.alloc(CHUNK_BYTES);
  try {
    for (;;) {
      run.looking.throwIfAborted();
      const beganAt = performance.now();
      const { bytesRead } = await opened.file.read(chunk, 0, chunk.length);
      if (bytesRead === 0) break;
      hash.update(chunk.subarray(0, bytesRead));
      if (run.options.gentle === true) await sleep(performance.now() - beganAt);
    }
  } catch (error) {
    run.looking.throwIfAborted();
    return `it cannot be read: ${messageOf(error)}`;
  } finally {
    await opened.file.close();
  }
  const actual = `sha256:${hash.digest('hex')}`;
  return actual === digest ? null : `its content has digest ${actual}`;
}

async function checkLayers(run: Run): Promise<number> {
  const { layers } = run.store;
  const places = await placesOf(run);
  for (const [key, place] of places) {
    run.looking.throwIfAborted();
    if (!layers.has(key)) continue;
    // One that is being removed would look damaged.
    const unpin = layers.pin([key]);
    const reason = await findLayerDamage(run, key, place).finally(unpin);
    if (reason === null) continue;
    await layers.condemn(key, reason);
    for (const image of run.store.images()) {
      const isUser = layerKeys(image.layers, layers.keyedBy).some((each) => each.key === key);
      if (isUser) await run.store.withhold(image, `layer ${key} is damaged: ${reason}`);
    }
  }
  return places.size;
}

/** Where a layer comes from; without a descriptor where no manifest could be read. */
interface Place {
  layer: LayerKey;
  descriptor: Descriptor | undefined;
}

async function placesOf(run: Run): Promise<Map<string, Place>> {
  const places = new Map<string, Place>();
  for (const image of chosenImages(run)) {
    run.looking.throwIfAborted();
    for (const place of await placesIn(run.store, image)) {
      const known = places.get(place.layer.key);
      if (known?.descriptor === undefined) places.set(place.layer.key, place);
    }
  }
  return places;
}

async function placesIn({ blobs, layers }: CheckedStore, image: StoredImage): Promise<Place[]> {
  const descriptors = await storedLayers(blobs, image);
  return layerKeys(image.layers, layers.keyedBy).map((layer, index) => ({
    layer,
    descriptor: descriptors[index],
  }));
}

async function findLayerDamage(
  { store: { layers }, options, looking }: Run,
  key: string,
  { layer, descriptor }: Place,
): Promise<string | null> {
  const { upkeep } = layers;
  if (!upkeep) return null;
  const condition = await upkeep.check(key);
  if (condition.state === 'damaged') return condition.reason;
  if (condition.state === 'sound' && options.depth !== 'content') return null;
  if (!descriptor) return null;
  // Nobody has measured it yet, or everything is asked for: only its blob can tell.
  const isSame = await layers.matchesBlob({ layer, descriptor }, looking);
  return isSame === false ? 'its files are not what its blob unpacks to' : null;
}

/** Makes every layer anew that an image lacks, from the blobs that are kept. */
async function mendImage(run: Run, image: StoredImage, reason: string): Promise<void> {
  const { store, signal } = run;
  const { layers, blobs } = store;
  const places = await placesIn(store, image);
  const unpin = [
    layers.pin(places.map(({ layer }) => layer.key)),
    blobs.pin([...image.blobs, ...image.layerBlobs]),
  ];
  const images = named([image]);
  const finding = { what: 'image' as const, digest: image.id, reason, images };
  try {
    for (const { layer, descriptor } of places) {
      if (layers.has(layer.key)) continue;
      if (!descriptor) throw new RuntimeError('data-loss', 'its manifest cannot be read');
      const wanted = { layer, descriptor, source: NOWHERE, parentReady: Promise.resolve() };
      await layers.ensure(wanted, signal, SILENT);
    }
    await store.giveBack(image.id);
    run.found({ ...finding, outcome: 'mended' });
  } catch (error) {
    signal.throwIfAborted();
    const why = `${reason}; it cannot be made anew: ${messageOf(error)}`;
    if (await store.quarantine(image.id, why)) {
      run.found({ ...finding, reason: why, outcome: 'quarantined' });
    }
  } finally {
    for (const release of unpin) release();
  }
}

/** Mending needs no network: a blob that is not kept is not there. */
const NOWHERE: ImageSource = {
  resolve: () => Promise.reject(notKept()),
  fetchDocument: () => Promise.reject(notKept()),
  fetchLayer: () => Promise.reject(notKept()),
};

function notKept(): RuntimeError {
  return new RuntimeError('data-loss', 'its blob is not kept here');
}

function named(images: readonly ImageRecord[]): ImageFinding['images'] {
  return images.map(({ id, repoTags, repoDigests }) => ({
    id,
    names: repoTags.length > 0 ? repoTags : repoDigests,
  }));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
