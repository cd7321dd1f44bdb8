/** The images of an OCI image layout, each with all of its names. */
import type { ImageReference } from '../../core/image-reference.js';
import { formatImageReference, imageName } from '../../core/image-reference.js';
import { RuntimeError } from '../../core/errors.js';
import {
  MAX_MANIFEST_BYTES,
  parseManifest,
  platformsOf,
  selectManifest,
  type Descriptor,
} from '../../core/oci.js';
import type { ArchivedImage, ImageSource, RootDocument } from '../source/image-source.js';
import type { LayoutFiles } from './layout-files.js';
import { isAttachment, LayoutBlobs, nameOfEntry, readAndClose } from './layout-source.js';

export async function readLayoutArchive(
  files: LayoutFiles,
  name: string,
): Promise<ArchivedImage[]> {
  const what = 'index.json';
  const part = await files.open(what);
  if (part === undefined) throw new RuntimeError('invalid-argument', `the archive lacks ${what}`);
  const index = parseManifest(await readAndClose(part, what, MAX_MANIFEST_BYTES), '', what);
  if (index.kind !== 'index') throw new RuntimeError('invalid-argument', `${what} is no index`);
  const entries = index.manifests.filter((entry) => !isAttachment(entry));
  const isOnlyOne = new Set(entries.map(({ digest }) => digest)).size === 1;
  const byName = new Map<string, { name: ImageReference | undefined; entries: Descriptor[] }>();
  for (const entry of entries) {
    const found = nameOfEntry(entry, name, isOnlyOne);
    const key = found === undefined ? entry.digest : formatImageReference(found);
    const group = byName.get(key) ?? { name: found, entries: [] };
    group.entries.push(entry);
    byName.set(key, group);
  }
  const images = new Map<string, { descriptor: Descriptor; names: ImageReference[] }>();
  for (const group of byName.values()) {
    const descriptor = oneOf(group.entries, what);
    const image = images.get(descriptor.digest) ?? { descriptor, names: [] };
    if (group.name !== undefined) image.names.push(group.name);
    images.set(descriptor.digest, image);
  }
  const blobs = new LayoutBlobs(files);
  return [...images.values()].map(({ descriptor, names }) => ({
    names,
    source: sourceOf(blobs, descriptor, names[0]),
  }));
}

/** Several of one name are one image for several platforms. */
function oneOf(entries: Descriptor[], what: string): Descriptor {
  const [only, ...more] = entries;
  if (only !== undefined && more.every(({ digest }) => digest === only.digest)) return only;
  return selectManifest({ kind: 'index', manifests: entries }, platformsOf(process.arch), what);
}

function sourceOf(
  blobs: LayoutBlobs,
  descriptor: Descriptor,
  name: ImageReference | undefined,
): ImageSource {
  return {
    resolve: async (): Promise<RootDocument> => ({
      mediaType: descriptor.mediaType,
      digest: descriptor.digest,
      bytes: await blobs.fetchDocument(descriptor, MAX_MANIFEST_BYTES),
      repoTag: name === undefined ? '' : formatImageReference(name),
      repoDigest: name === undefined ? '' : `${imageName(name)}@${descriptor.digest}`,
    }),
    fetchDocument: (wanted, maxBytes) => blobs.fetchDocument(wanted, maxBytes),
    fetchLayer: (request) => blobs.fetchLayer(request),
  };
}
