/** The images of an archive as `docker save` writes it: manifest.json, configs and tars of layers. */
import { createHash } from 'node:crypto';
import { sha256Of } from '../../core/digest.js';
import { RuntimeError } from '../../core/errors.js';
import { parseImageConfig } from '../../core/image-config.js';
import type { ImageReference } from '../../core/image-reference.js';
import {
  formatImageReference,
  imageName,
  parseImageReference,
} from '../../core/image-reference.js';
import {
  asArray,
  asObject,
  asString,
  asStrings,
  optional,
  property,
} from '../../core/json-shape.js';
import { MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, type Descriptor } from '../../core/oci.js';
import { parseStrictJson } from '../../core/strict-json.js';
import type { ArchivedImage, ImageSource } from '../source/image-source.js';
import type { FilePart, LayoutFiles } from './layout-files.js';
import { copyLayer, readAndClose } from './layout-source.js';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar';

export async function readDockerArchive(files: LayoutFiles): Promise<ArchivedImage[]> {
  const what = 'manifest.json';
  const bytes = await readMember(files, what, MAX_MANIFEST_BYTES);
  const entries = asArray(parseStrictJson(bytes, what, MAX_MANIFEST_BYTES), what);
  const images: ArchivedImage[] = [];
  for (const [index, entry] of entries.entries()) {
    images.push(await readImage(files, entry, `${what}[${index}]`));
  }
  return images;
}

/**
 * There is no manifest in such an archive: one is made, the same from the same archive every time. What
 * its digests are made from is read again, and compared, when the image is unpacked.
 */
async function readImage(
  files: LayoutFiles,
  entry: unknown,
  where: string,
): Promise<ArchivedImage> {
  const object = asObject(entry, where);
  const configPath = asString(property(object, 'Config'), `${where}.Config`);
  const paths = optional(object, 'Layers', where, asStrings, []);
  const names = optional(object, 'RepoTags', where, asStrings, []).map(parseTag);
  const config = await readMember(files, configPath, MAX_CONFIG_BYTES);
  const configDigest = sha256Of(config);
  const named = /(?:^|\/)([0-9a-f]{64})(?:\.json)?$/.exec(configPath)?.[1];
  if (named !== undefined && `sha256:${named}` !== configDigest) {
    throw new RuntimeError('data-loss', `${configPath} has content of digest ${configDigest}`);
  }
  const { diffIds } = parseImageConfig(config, configPath);
  if (diffIds.length !== paths.length) {
    throw new RuntimeError(
      'invalid-argument',
      `${where} has ${paths.length} layers, but ${configPath} has ${diffIds.length} diff_ids`,
    );
  }
  const layers: Descriptor[] = [];
  const pathOf = new Map<string, string>();
  for (const [index, path] of paths.entries()) {
    const layer = await describeLayer(files, path, diffIds[index] ?? '');
    layers.push(layer);
    pathOf.set(layer.digest, path);
  }
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: CONFIG, digest: configDigest, size: config.length },
      layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
    }),
  );
  const digest = sha256Of(manifest);
  const [name] = names;
  const source: ImageSource = {
    resolve: () =>
      Promise.resolve({
        mediaType: MANIFEST,
        digest,
        bytes: manifest,
        repoTag: name === undefined ? '' : formatImageReference(name),
        repoDigest: name === undefined ? '' : `${imageName(name)}@${digest}`,
      }),
    fetchDocument: () => Promise.resolve(config),
    fetchLayer: async (request) => {
      const path = pathOf.get(request.descriptor.digest) ?? '';
      await copyLayer(await openMember(files, path), request);
    },
  };
  return { names, source };
}

function parseTag(name: string): ImageReference {
  const reference = parseImageReference(name);
  if (reference.digest === '') return reference;
  throw new RuntimeError(
    'invalid-argument',
    `RepoTags has ${JSON.stringify(name)}, which is no tag`,
  );
}

/** Of an uncompressed layer the digest is the diff_id; of another one it must be read. */
async function describeLayer(
  files: LayoutFiles,
  path: string,
  diffId: string,
): Promise<Descriptor> {
  const part = await openMember(files, path);
  try {
    const suffix = await compression(part);
    return {
      mediaType: `${LAYER}${suffix}`,
      digest: suffix === '' ? diffId : await digestOf(part),
      size: part.length,
      annotations: [],
      platform: null,
    };
  } finally {
    await part.file.close();
  }
}

async function compression({ file, offset, length }: FilePart): Promise<string> {
  const magic = Buffer.alloc(4);
  await file.read(magic, 0, Math.min(4, length), offset);
  const hex = magic.toString('hex');
  if (hex.startsWith('1f8b')) return '+gzip';
  return hex === '28b52ffd' ? '+zstd' : '';
}

async function digestOf({ file, offset, length }: FilePart): Promise<string> {
  const hash = createHash('sha256');
  const end = offset + length - 1;
  const stream = file.createReadStream({ start: offset, end, autoClose: false });
  for await (const chunk of stream as AsyncIterable<Buffer>) hash.update(chunk);
  return `sha256:${hash.digest('hex')}`;
}

async function readMember(files: LayoutFiles, path: string, maxBytes: number): Promise<Uint8Array> {
  return readAndClose(await openMember(files, path), path, maxBytes);
}

async function openMember(files: LayoutFiles, path: string): Promise<FilePart> {
  const part = await files.open(path);
  if (part !== undefined) return part;
  throw new RuntimeError('data-loss', `the archive lacks ${JSON.stringify(path.slice(0, 200))}`);
}
