/** Sends an image to a registry: its blobs, then manifests from the leaves up, the tag last. */
import type { FileHandle } from 'node:fs/promises';
import { sha256Of } from '../../core/digest.js';
import { RuntimeError } from '../../core/errors.js';
import {
  formatImageReference,
  imageName,
  type ImageReference,
} from '../../core/image-reference.js';
import { asObject, asString, optional } from '../../core/json-shape.js';
import {
  INDEX_TYPES,
  MANIFEST_TYPES,
  MAX_MANIFEST_BYTES,
  parseManifest,
  type Descriptor,
} from '../../core/oci.js';
import type { RegistryAuth } from '../../core/ports/images.js';
import { parseStrictJson } from '../../core/strict-json.js';
import { Limit } from '../../util/limit.js';
import { discard, headerOf } from './http-client.js';
import { RegistryClient, type RegistryServer } from './client.js';
import { answeredError, asUnavailable } from './errors.js';
import { readRegistryHosts } from './hosts.js';
import { uploadBlob } from './upload.js';
import { withRetries } from '../source/retry.js';
import { TokenCache } from './token-cache.js';

/** Where the parts of the image are read; undefined for what is not there. The receiver closes the file. */
export interface BlobReader {
  openBlob(digest: string): Promise<{ file: FileHandle; size: number } | undefined>;
}

/** 'present': the registry had it; 'mounted': another of its repositories had it. */
export type PushState = 'waiting' | 'uploading' | 'done' | 'present' | 'mounted';

export interface BlobPushProgress {
  digest: string;
  size: number;
  /** May go back, when an upload must begin again. */
  sentBytes: number;
  state: PushState;
}

export interface PushRequest {
  /** With a tag, or with the digest of what is pushed. */
  reference: ImageReference;
  /** Of the index or manifest. */
  digest: string;
  blobs: BlobReader;
  auth: RegistryAuth | null;
  /** Repositories of the same registry that may have the blobs. */
  mountFrom?: readonly string[];
  signal: AbortSignal;
  onProgress?: (progress: BlobPushProgress) => void;
}

export interface PushedImage {
  /** Of what has the tag now: another than was asked for when only one image of an index is here. */
  digest: string;
  sentBytes: number;
}

export type PushImage = (request: PushRequest) => Promise<PushedImage>;

interface Document {
  digest: string;
  mediaType: string;
  bytes: Uint8Array;
}

interface Plan {
  /** What others name comes before them; the last one gets the tag. */
  documents: Document[];
  blobs: ReadonlyMap<string, Descriptor>;
}

const PARALLEL_BLOBS = 3;

/** `hostsDir` is asked anew for each push; `tokens` may be the pulls'. */
export function createRegistryPusher(hostsDir: () => string, tokens = new TokenCache()): PushImage {
  return async (request) => {
    const { reference, auth } = request;
    const plan = await makePlan(request);
    const root = plan.documents.at(-1) as Document;
    if (reference.digest !== '' && reference.digest !== root.digest) {
      throw new RuntimeError(
        'invalid-argument',
        `${formatImageReference(reference)} names another digest than the image's, ${root.digest}: push it with a tag`,
      );
    }
    const hosts = await readRegistryHosts(reference.registry, hostsDir());
    const mountFrom = (request.mountFrom ?? []).filter((name) => name !== reference.repository);
    const client = new RegistryClient({
      repository: reference,
      hosts,
      auth,
      tokens,
      actions: 'pull,push',
      alsoRead: mountFrom,
    });
    const server = client.serverForPush();
    try {
      const sentBytes = await pushBlobs(server, { ...request, mountFrom }, plan.blobs);
      for (const document of plan.documents.slice(0, -1)) {
        await putManifest(server, document, document.digest, request);
      }
      await putManifest(server, root, reference.tag || root.digest, request);
      return { digest: root.digest, sentBytes };
    } catch (error) {
      throw asUnavailable(error);
    }
  };
}

async function makePlan({ digest, blobs }: PushRequest): Promise<Plan> {
  const plan = { documents: [] as Document[], blobs: new Map<string, Descriptor>() };
  const root = await readDocument(blobs, digest, '');
  if (root === undefined) throw absent('manifest', digest);
  const document = parseManifest(root.bytes, root.mediaType, `manifest ${digest}`);
  if (document.kind === 'manifest') return addManifest(plan, root);
  const children = await Promise.all(
    document.manifests.map((child) => readDocument(blobs, child.digest, child.mediaType)),
  );
  const present = children.filter((child) => child !== undefined);
  for (const child of present) addManifest(plan, child);
  if (present.length === children.length) {
    plan.documents.push(root);
    return plan;
  }
  // A registry takes an index only with all its images, and a pull fetches this host's alone.
  if (present.length === 1) return plan;
  throw new RuntimeError(
    'failed-precondition',
    `index ${digest} names ${children.length} images, of which ${present.length} are on this host: push one of them by its digest`,
  );
}

function addManifest(
  plan: { documents: Document[]; blobs: Map<string, Descriptor> },
  document: Document,
): Plan {
  const what = `manifest ${document.digest}`;
  const manifest = parseManifest(document.bytes, document.mediaType, what);
  if (manifest.kind === 'index') {
    throw new RuntimeError('unimplemented', `${what} is an index in an index, which is not pushed`);
  }
  for (const blob of [manifest.config, ...manifest.layers]) plan.blobs.set(blob.digest, blob);
  plan.documents.push(document);
  return plan;
}

async function readDocument(
  blobs: BlobReader,
  digest: string,
  given: string,
): Promise<Document | undefined> {
  const blob = await blobs.openBlob(digest);
  if (blob === undefined) return undefined;
  try {
    const what = `manifest ${digest}`;
    if (blob.size > MAX_MANIFEST_BYTES) {
      throw new RuntimeError('data-loss', `${what} is larger than ${MAX_MANIFEST_BYTES} bytes`);
    }
    const bytes = Buffer.alloc(blob.size);
    await blob.file.read(bytes, 0, blob.size, 0);
    if (sha256Of(bytes) !== digest) {
      throw new RuntimeError('data-loss', `${what} on this host is damaged: pull the image again`);
    }
    return { digest, mediaType: given || typeOf(bytes, what), bytes };
  } finally {
    await blob.file.close();
  }
}

/** What a document says it is; OCI's lets it say nothing. */
function typeOf(bytes: Uint8Array, what: string): string {
  const document = asObject(parseStrictJson(bytes, what, MAX_MANIFEST_BYTES), what);
  const [index = ''] = INDEX_TYPES;
  const [manifest = ''] = MANIFEST_TYPES;
  const silent = Object.hasOwn(document, 'manifests') ? index : manifest;
  return optional(document, 'mediaType', what, asString, silent);
}

/** A few at a time; the first failure stops the others. Answers the bytes that were sent. */
async function pushBlobs(
  server: RegistryServer,
  request: PushRequest,
  blobs: ReadonlyMap<string, Descriptor>,
): Promise<number> {
  const limit = new Limit(PARALLEL_BLOBS);
  const failed = new AbortController();
  const signal = AbortSignal.any([request.signal, failed.signal]);
  const tell = request.onProgress ?? (() => undefined);
  let sent = 0;
  for (const { digest, size } of blobs.values()) {
    tell({ digest, size, sentBytes: 0, state: 'waiting' });
  }
  const results = await Promise.allSettled(
    [...blobs.values()].map(({ digest, size }) =>
      limit.run(async () => {
        const blob = await openWhole(request.blobs, digest, size);
        try {
          signal.throwIfAborted();
          const onBytes = (sentBytes: number): void => {
            tell({ digest, size, sentBytes, state: 'uploading' });
          };
          const { mountFrom = [] } = request;
          const upload = { server, digest, size, file: blob.file, mountFrom, signal, onBytes };
          const state = await uploadBlob(upload);
          if (state === 'done') sent += size;
          tell({ digest, size, sentBytes: state === 'done' ? size : 0, state });
        } catch (error) {
          failed.abort(error);
          throw error;
        } finally {
          await blob.file.close();
        }
      }),
    ),
  );
  if (failed.signal.aborted) throw failed.signal.reason;
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return sent;
}

async function openWhole(
  blobs: BlobReader,
  digest: string,
  size: number,
): Promise<{ file: FileHandle }> {
  const blob = await blobs.openBlob(digest);
  if (blob === undefined) throw absent('blob', digest);
  if (blob.size === size) return blob;
  await blob.file.close();
  throw new RuntimeError(
    'data-loss',
    `blob ${digest} has ${blob.size} bytes on this host, not ${size}: pull the image again`,
  );
}

function absent(what: string, digest: string): RuntimeError {
  return new RuntimeError(
    'not-found',
    `${what} ${digest} is not on this host: pull the image again`,
  );
}

async function putManifest(
  server: RegistryServer,
  { digest, mediaType, bytes }: Document,
  name: string,
  { reference, signal }: PushRequest,
): Promise<void> {
  const what = `the manifest of ${imageName(reference)}:${name}`;
  await withRetries(async () => {
    const response = await server.send(server.url(`manifests/${name}`), {
      method: 'PUT',
      headers: { 'content-type': mediaType },
      body: bytes,
      signal,
    });
    if (response.statusCode !== 201) throw await answeredError(response, server.name, what);
    await discard(response);
    const stored = headerOf(response, 'docker-content-digest');
    if (stored === '' || stored === digest) return;
    throw new RuntimeError(
      'data-loss',
      `${server.name} stored ${what} as ${stored}, not ${digest}`,
    );
  }, signal);
}
