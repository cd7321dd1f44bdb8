/** An image in an OCI image layout on this host. */
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { Readable } from 'node:stream';
import { hasCode, RuntimeError, wrap } from '../../core/errors.js';
import {
  formatImageReference,
  imageName,
  isTag,
  parseImageReference,
} from '../../core/image-reference.js';
import type { ImageReference } from '../../core/image-reference.js';
import { hexOf } from '../../core/digest.js';
import { isAttachmentTag } from '../../core/referrers.js';
import type { Descriptor, Index } from '../../core/oci.js';
import { MAX_MANIFEST_BYTES, parseManifest } from '../../core/oci.js';
import { downloadBlob, type BlobPart } from '../source/blob-download.js';
import type { ReadOrigin } from '../source/image-origin.js';
import type { ImageSource, LayerRequest, RootDocument } from '../source/image-source.js';
import { LayoutArchive, LayoutFolder, readPart } from './layout-files.js';
import type { FilePart, LayoutFiles } from './layout-files.js';

const REF_NAME = 'org.opencontainers.image.ref.name';

/** docker's and containerd's own annotation for the full name. */
const IMAGE_NAME = 'io.containerd.image.name';

/** The blobs of a layout, by digest. */
export class LayoutBlobs {
  readonly #files: LayoutFiles;

  constructor(files: LayoutFiles) {
    this.#files = files;
  }

  async fetchDocument(descriptor: Descriptor, maxBytes: number): Promise<Uint8Array> {
    return readAndClose(await this.#open(descriptor), `blob ${descriptor.digest}`, maxBytes);
  }

  async fetchLayer(request: LayerRequest): Promise<void> {
    await copyLayer(await this.#open(request.descriptor), request);
  }

  async #open(descriptor: Descriptor): Promise<FilePart> {
    const part = await this.#files.open(`blobs/sha256/${hexOf(descriptor.digest)}`);
    if (part === undefined) {
      throw new RuntimeError('data-loss', `${this.#files.path} lacks blob ${descriptor.digest}`);
    }
    if (part.length === descriptor.size) return part;
    await part.file.close();
    throw new RuntimeError(
      'data-loss',
      `blob ${descriptor.digest} in ${this.#files.path} has ${part.length} bytes, not ${descriptor.size}`,
    );
  }
}

export class LayoutSource implements ImageSource {
  readonly #files: LayoutFiles;
  readonly #blobs: LayoutBlobs;
  readonly #wanted: string;
  readonly #calledAs: ImageReference | undefined;

  constructor(files: LayoutFiles, wanted: string, calledAs?: ImageReference) {
    this.#files = files;
    this.#blobs = new LayoutBlobs(files);
    this.#wanted = wanted;
    this.#calledAs = calledAs;
  }

  static async open(origin: Exclude<ReadOrigin, { kind: 'registry' }>): Promise<LayoutSource> {
    const isFolder =
      origin.kind === 'layout' || (origin.kind === 'path' && (await isDirectory(origin.path)));
    const files = isFolder ? new LayoutFolder(origin.path) : await LayoutArchive.open(origin.path);
    return new LayoutSource(files, origin.name, origin.calledAs);
  }

  async resolve(): Promise<RootDocument> {
    const { path } = this.#files;
    const what = `${path}/index.json`;
    const part = await this.#files.open('index.json');
    if (part === undefined) {
      throw new RuntimeError('not-found', `there is no OCI image layout at ${path}: no index.json`);
    }
    const index = parseManifest(await readAndClose(part, what, MAX_MANIFEST_BYTES), '', what);
    if (index.kind !== 'index') throw new RuntimeError('invalid-argument', `${what} is no index`);
    const descriptor = this.#choose(index);
    const name = this.#calledAs ?? nameOf(descriptor, path);
    return {
      mediaType: descriptor.mediaType,
      digest: descriptor.digest,
      bytes: await this.fetchDocument(descriptor, MAX_MANIFEST_BYTES),
      repoTag: name.digest === '' ? formatImageReference(name) : '',
      repoDigest: `${imageName(name)}@${descriptor.digest}`,
    };
  }

  fetchDocument(descriptor: Descriptor, maxBytes: number): Promise<Uint8Array> {
    return this.#blobs.fetchDocument(descriptor, maxBytes);
  }

  fetchLayer(request: LayerRequest): Promise<void> {
    return this.#blobs.fetchLayer(request);
  }

  /** The image of the wanted name, else the only one. */
  #choose(index: Index): Descriptor {
    const { path } = this.#files;
    const named = index.manifests.map((descriptor) => ({ descriptor, name: refName(descriptor) }));
    const wanted = this.#wanted;
    if (wanted === '') {
      const [only, ...more] = named.filter(({ descriptor }) => !isAttachment(descriptor));
      if (only && more.length === 0) return only.descriptor;
      const names = named.map(({ name }) => name).filter((name) => name !== '');
      throw new RuntimeError(
        only ? 'invalid-argument' : 'not-found',
        only
          ? `${path} holds ${more.length + 1} images, name one of them after the path: ${names.slice(0, 20).join(', ')}`
          : `${path} holds no image`,
      );
    }
    const found =
      named.find(({ name }) => name === wanted) ??
      named.find(({ name }) => isTag(wanted) && name.endsWith(`:${wanted}`));
    if (found) return found.descriptor;
    throw new RuntimeError('not-found', `${path} holds no image ${JSON.stringify(wanted)}`);
  }
}

/** Closes the part. */
export async function copyLayer(
  part: FilePart,
  { descriptor, file, signal, onBytes }: LayerRequest,
): Promise<void> {
  const start = part.offset;
  const fetch = (offset: number): Promise<BlobPart> => {
    const options = { start: start + offset, end: start + part.length - 1, autoClose: false };
    // A stream cannot be told to read nothing: its end is inclusive.
    const isEmpty = offset >= part.length;
    const body = isEmpty ? Readable.from([]) : part.file.createReadStream(options);
    return Promise.resolve({ offset, body });
  };
  try {
    await downloadBlob({ descriptor, file, fetch, signal, onBytes });
  } finally {
    await part.file.close();
  }
}

function annotation(descriptor: Descriptor, name: string): string {
  return descriptor.annotations.find(([key]) => key === name)?.[1] ?? '';
}

function refName(descriptor: Descriptor): string {
  return annotation(descriptor, REF_NAME);
}

/** Signatures and the like of another entry: found when that is checked, and no images. */
export function isAttachment(descriptor: Descriptor): boolean {
  return isAttachmentTag(refName(descriptor).replace(/^.*:/s, ''));
}

/**
 * What an entry of an archive is called: docker's full name, else as for a layout that is pulled. An
 * entry that says nothing is called after the archive only if it `mayBe`: others say nothing either.
 */
export function nameOfEntry(
  descriptor: Descriptor,
  archive: string,
  mayBe: boolean,
): ImageReference | undefined {
  const full = annotation(descriptor, IMAGE_NAME);
  if (full !== '') {
    try {
      const reference = parseImageReference(full);
      return reference.digest === '' ? reference : undefined;
    } catch {
      // Names nothing we could use.
    }
  }
  if (refName(descriptor) === '' && !mayBe) return undefined;
  const reference = nameOf(descriptor, archive);
  return reference.digest === '' ? reference : undefined;
}

/**
 * What an image of a layout is called: the annotation when it is a full reference, else
 * `localhost/<name of the folder or file>:<the annotation, a tag, or latest>`.
 */
function nameOf(descriptor: Descriptor, path: string): ImageReference {
  const given = refName(descriptor);
  if (given.includes('/')) {
    try {
      return parseImageReference(given);
    } catch {
      // Names nothing we could use: the image gets one made from the path.
    }
  }
  const name =
    basename(path)
      .toLowerCase()
      .replace(/\.(tar|tgz|tar\.(gz|zst|xz))$/, '')
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^-+|-+$/g, '')
      .slice(0, 128) || 'image';
  const tag = isTag(given) ? given : 'latest';
  return { registry: 'localhost', repository: name, tag, digest: '' };
}

export async function readAndClose(
  part: FilePart,
  what: string,
  maxBytes: number,
): Promise<Uint8Array> {
  try {
    return await readPart(part, what, maxBytes);
  } finally {
    await part.file.close();
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    const kind = hasCode(error, 'ENOENT', 'ENOTDIR') ? 'not-found' : 'failed-precondition';
    throw wrap(error, `cannot read image path ${path}`, kind);
  }
}
