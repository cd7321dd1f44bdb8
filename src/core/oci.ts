/** Manifests and indexes of OCI and docker's schema 2, checked before anything acts on them. */
import { RuntimeError } from './errors.js';
import { isDigest } from './image-reference.js';
import type { JsonObject } from './json-shape.js';
import { asArray, asObject, asPairs, asString, optional, property } from './json-shape.js';
import type { Pairs } from './model.js';
import { parseStrictJson } from './strict-json.js';

export const MAX_MANIFEST_BYTES = 4 << 20;
export const MAX_CONFIG_BYTES = 8 << 20;
/** docker's own limit; overlayfs takes more, but no builder makes them. */
const MAX_LAYERS = 127;

const OCI = 'application/vnd.oci.image.';
const DOCKER = 'application/vnd.docker.';
export const INDEX_TYPES: readonly string[] = [
  `${OCI}index.v1+json`,
  `${DOCKER}distribution.manifest.list.v2+json`,
];
export const MANIFEST_TYPES: readonly string[] = [
  `${OCI}manifest.v1+json`,
  `${DOCKER}distribution.manifest.v2+json`,
];
const CONFIG_TYPES = [`${OCI}config.v1+json`, `${DOCKER}container.image.v1+json`];
const LAYER_TYPES = [
  ...['', '+gzip', '+zstd'].flatMap((suffix) => [
    `${OCI}layer.v1.tar${suffix}`,
    `${OCI}layer.nondistributable.v1.tar${suffix}`,
  ]),
  ...['', '.gzip', '.zstd'].flatMap((suffix) => [
    `${DOCKER}image.rootfs.diff.tar${suffix}`,
    `${DOCKER}image.rootfs.foreign.diff.tar${suffix}`,
  ]),
];

export interface Platform {
  os: string;
  architecture: string;
  variant: string;
}

export interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations: Pairs;
  platform: Platform | null;
}

export interface Manifest {
  kind: 'manifest';
  /** No container image: config and layers may be of any type. */
  isArtifact: boolean;
  config: Descriptor;
  layers: Descriptor[];
}

export interface Index {
  kind: 'index';
  manifests: Descriptor[];
}

/**
 * Reads a manifest or index. `mediaType` is what its descriptor or the registry said of it, '' for
 * nothing; a document that says another type of itself is refused, since two readers of the same
 * digest could take it for two things (GHSA-5j5w-g665-5m35).
 */
export function parseManifest(
  bytes: Uint8Array,
  mediaType: string,
  what: string,
): Manifest | Index {
  const document = asObject(parseStrictJson(bytes, what, MAX_MANIFEST_BYTES), what);
  const own = optional(document, 'mediaType', what, asString, '');
  const version = property(document, 'schemaVersion');
  if (version === 1 || `${mediaType} ${own}`.includes('manifest.v1+prettyjws')) {
    throw new RuntimeError(
      'failed-precondition',
      `${what} is of docker's schema 1, which is obsolete: push the image again with a current tool`,
    );
  }
  if (version !== 2) throw refused(`${what} has no schemaVersion 2`);
  if (mediaType !== '' && own !== '' && mediaType !== own) {
    throw refused(
      `${what} says of itself to be ${quote(own)}, but was given as ${quote(mediaType)}`,
    );
  }
  const isIndex = Object.hasOwn(document, 'manifests');
  if (isIndex && (Object.hasOwn(document, 'layers') || Object.hasOwn(document, 'config'))) {
    throw refused(`${what} is a manifest and an index at once`);
  }
  const type = own || mediaType;
  if (type !== '' && !(isIndex ? INDEX_TYPES : MANIFEST_TYPES).includes(type)) {
    throw refused(
      `${what} has media type ${quote(type)}, which is no ${isIndex ? 'index' : 'image'}`,
    );
  }
  return isIndex ? parseIndex(document, what) : parseImageManifest(document, what);
}

function parseIndex(document: JsonObject, what: string): Index {
  const manifests = asArray(property(document, 'manifests'), `${what}.manifests`);
  return {
    kind: 'index',
    manifests: manifests.map((item, index) => parseDescriptor(item, `${what}.manifests[${index}]`)),
  };
}

function parseImageManifest(document: JsonObject, what: string): Manifest {
  const config = parseDescriptor(property(document, 'config'), `${what}.config`);
  const isArtifact = !CONFIG_TYPES.includes(config.mediaType);
  if (config.size > MAX_CONFIG_BYTES) {
    throw refused(`${what}.config is larger than ${MAX_CONFIG_BYTES} bytes`);
  }
  const layers = asArray(property(document, 'layers') ?? [], `${what}.layers`);
  if (layers.length > MAX_LAYERS) {
    throw refused(`${what} has ${layers.length} layers, more than ${MAX_LAYERS}`);
  }
  return {
    kind: 'manifest',
    isArtifact,
    config,
    layers: layers.map((item, index) => {
      const layer = parseDescriptor(item, `${what}.layers[${index}]`);
      if (isArtifact || LAYER_TYPES.includes(layer.mediaType)) return layer;
      throw refused(
        `${what}.layers[${index}] has media type ${quote(layer.mediaType)}, which is no layer this agent can unpack`,
      );
    }),
  };
}

/** `urls` and `data` of a descriptor are never used: content comes from where the image comes from. */
export function parseDescriptor(value: unknown, where: string): Descriptor {
  const object = asObject(value, where);
  const digest = asString(property(object, 'digest'), `${where}.digest`);
  if (!isDigest(digest)) throw refused(`${where}.digest ${quote(digest)} is not a sha256 digest`);
  const size = property(object, 'size');
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw refused(`${where}.size is not a number of bytes`);
  }
  return {
    mediaType: optional(object, 'mediaType', where, asString, ''),
    digest,
    size,
    annotations: optional(object, 'annotations', where, asPairs, []),
    platform: optional<Platform | null>(object, 'platform', where, parsePlatform, null),
  };
}

function parsePlatform(value: unknown, where: string): Platform {
  const object = asObject(value, where);
  return {
    os: optional(object, 'os', where, asString, ''),
    architecture: optional(object, 'architecture', where, asString, ''),
    variant: optional(object, 'variant', where, asString, ''),
  };
}

/** What a host can run, best first; `process.arch` of Node in, names of Go out. */
export function platformsOf(nodeArchitecture: string): Platform[] {
  const on = (architecture: string, ...variants: string[]): Platform[] =>
    variants.map((variant) => ({ os: 'linux', architecture, variant }));
  switch (nodeArchitecture) {
    case 'x64':
      // v2 and above may ask for instructions this CPU lacks.
      return on('amd64', '', 'v1');
    case 'arm64':
      return on('arm64', 'v8', '');
    case 'arm':
      return on('arm', 'v7', 'v6', 'v5', '');
    case 'ppc64':
      return on('ppc64le', '');
    case 'ia32':
      return on('386', '');
    default:
      return on(nodeArchitecture, '');
  }
}

/** The entry for the best of `platforms`; one that names no platform is the last resort. */
export function selectManifest(
  index: Index,
  platforms: readonly Platform[],
  what: string,
): Descriptor {
  const known = [...INDEX_TYPES, ...MANIFEST_TYPES, ''];
  const candidates = index.manifests.filter(({ mediaType }) => known.includes(mediaType));
  for (const wanted of platforms) {
    const found = candidates.find(
      ({ platform }) =>
        platform?.os === wanted.os &&
        platform.architecture === wanted.architecture &&
        platform.variant === wanted.variant,
    );
    if (found) return found;
  }
  const unnamed = candidates.find(({ platform }) => platform === null);
  if (unnamed) return unnamed;
  const offered = candidates.map(({ platform }) => formatPlatform(platform)).slice(0, 20);
  throw new RuntimeError(
    'not-found',
    `${what} has no image for ${formatPlatform(platforms[0] ?? null)}, only for ${offered.join(', ') || 'nothing'}`,
  );
}

export function formatPlatform(platform: Platform | null): string {
  if (platform === null) return 'unknown';
  const { os, architecture, variant } = platform;
  return [os, architecture, ...(variant === '' ? [] : [variant])].join('/').slice(0, 80);
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 120));
}

function refused(message: string): RuntimeError {
  return new RuntimeError('invalid-argument', message);
}
