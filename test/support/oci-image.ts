/** Small OCI images, made from nothing, and layouts that hold them. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { platformsOf } from '../../src/core/oci.js';
import { makeTar, type TarEntry } from './tar.js';

export interface Blob {
  mediaType: string;
  digest: string;
  bytes: Buffer;
}

export interface BuiltImage {
  /** `sha256:…` of the config. */
  id: string;
  diffIds: string[];
  manifest: Blob;
  /** Config and layers. */
  blobs: Blob[];
}

export interface ImageParts {
  layers: (TarEntry[] | Buffer)[];
  /** The `config` object inside the image config. */
  config?: Record<string, unknown>;
  /** Replaces keys of the image config document. */
  document?: Record<string, unknown>;
  docker?: boolean;
  compress?: (tar: Buffer) => { bytes: Buffer; suffix: string };
}

export const ARCHITECTURE = platformsOf(process.arch)[0]?.architecture ?? '';

export function digestOf(bytes: Buffer | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export function makeBlob(mediaType: string, bytes: Buffer | string): Blob {
  return { mediaType, digest: digestOf(bytes), bytes: Buffer.from(bytes) };
}

export function descriptorOf({ mediaType, digest, bytes }: Blob): Record<string, unknown> {
  return { mediaType, digest, size: bytes.length };
}

export function buildImage(parts: ImageParts): BuiltImage {
  const tars = parts.layers.map((layer) => (Buffer.isBuffer(layer) ? layer : makeTar(layer)));
  const compress = parts.compress ?? ((tar) => ({ bytes: gzipSync(tar), suffix: 'gzip' }));
  const layers = tars.map((tar) => {
    const { bytes, suffix } = compress(tar);
    const type = parts.docker
      ? `application/vnd.docker.image.rootfs.diff.tar.${suffix}`
      : `application/vnd.oci.image.layer.v1.tar${suffix === '' ? '' : `+${suffix}`}`;
    return makeBlob(type, bytes);
  });
  const diffIds = tars.map(digestOf);
  const config = makeBlob(
    parts.docker
      ? 'application/vnd.docker.container.image.v1+json'
      : 'application/vnd.oci.image.config.v1+json',
    JSON.stringify({
      os: 'linux',
      architecture: ARCHITECTURE,
      config: parts.config ?? {},
      rootfs: { type: 'layers', diff_ids: diffIds },
      ...parts.document,
    }),
  );
  const mediaType = parts.docker
    ? 'application/vnd.docker.distribution.manifest.v2+json'
    : 'application/vnd.oci.image.manifest.v1+json';
  const manifest = makeBlob(
    mediaType,
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: descriptorOf(config),
      layers: layers.map(descriptorOf),
    }),
  );
  return { id: config.digest, diffIds, manifest, blobs: [config, ...layers] };
}

/** An OCI artifact of named files, as ORAS makes them. */
export function buildArtifact(files: Record<string, string>): BuiltImage {
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const config = makeBlob('application/vnd.oci.empty.v1+json', '{}');
  const blobs = Object.entries(files).map(([title, content]) => ({
    ...makeBlob('application/octet-stream', content),
    title,
  }));
  const manifest = makeBlob(
    mediaType,
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      artifactType: 'application/vnd.example.model',
      config: descriptorOf(config),
      layers: blobs.map((blob) => ({
        ...descriptorOf(blob),
        annotations: { 'org.opencontainers.image.title': blob.title },
      })),
    }),
  );
  return { id: manifest.digest, diffIds: [], manifest, blobs: [config, ...blobs] };
}

/** Writes a layout; the key is the image's ref.name annotation, '' for none. */
export function writeLayout(folder: string, images: Record<string, BuiltImage>): void {
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true });
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const manifests = Object.entries(images).map(([name, image]) => {
    for (const { digest, bytes } of [image.manifest, ...image.blobs]) {
      writeFileSync(join(folder, 'blobs', digest.replace(':', '/')), bytes);
    }
    const annotations = name === '' ? {} : { 'org.opencontainers.image.ref.name': name };
    return { ...descriptorOf(image.manifest), annotations };
  });
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
}
