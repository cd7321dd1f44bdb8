/** Sigstore bundles as cosign 3 makes them, by node:crypto, as referrers of an image. */
import { signSha256, type KeyPair, type Sign } from './cosign.js';
import { pushBlob, pushManifest } from './docker-registry.js';
import { descriptorOf, makeBlob, type Blob } from './oci-image.js';

type Json = Record<string, unknown>;

export const BUNDLE_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json';
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';

export function statementOf(digest: string, changes: Json = {}): Json {
  return {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ digest: { sha256: digest.replace('sha256:', '') }, annotations: {} }],
    predicateType: 'https://sigstore.dev/cosign/sign/v1',
    predicate: {},
    ...changes,
  };
}

export interface BundleChanges {
  bundle?: Json;
  envelope?: Json;
  signWith?: Sign;
}

/** `statement` is text where it shall not be what JSON.stringify makes. */
export function signBundle(
  statement: Json | string,
  key: KeyPair,
  { bundle, envelope, signWith = signSha256 }: BundleChanges = {},
): string {
  const payload = Buffer.from(
    typeof statement === 'string' ? statement : JSON.stringify(statement),
  );
  const payloadType = 'application/vnd.in-toto+json';
  const head = Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} `);
  const signature = signWith(Buffer.concat([head, payload]), key.privateKey);
  return JSON.stringify({
    mediaType: BUNDLE_TYPE,
    verificationMaterial: { publicKey: { hint: 'hint' } },
    dsseEnvelope: {
      payload: payload.toString('base64'),
      payloadType,
      signatures: [{ sig: signature.toString('base64') }],
      ...envelope,
    },
    ...bundle,
  });
}

export interface Referrer {
  manifest: Blob;
  blobs: Blob[];
}

export function referrerOf(
  bundle: string,
  { type = BUNDLE_TYPE, annotations = {} }: { type?: string; annotations?: Json } = {},
): Referrer {
  const config = makeBlob('application/vnd.oci.empty.v1+json', '{}');
  const layer = makeBlob(type, bundle);
  const manifest = makeBlob(
    MANIFEST_TYPE,
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: descriptorOf(config),
      layers: [descriptorOf(layer)],
      annotations,
      artifactType: type,
    }),
  );
  return { manifest, blobs: [config, layer] };
}

/** The list, with what cosign writes into it itself for want of the referrers API. */
export function referrersIndex(
  referrers: readonly Referrer[],
  artifactType = 'application/vnd.oci.empty.v1+json',
): Blob {
  const manifests = referrers.map(({ manifest }) => ({ ...descriptorOf(manifest), artifactType }));
  return makeBlob(
    INDEX_TYPE,
    JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests }),
  );
}

/** For a layout, under the fallback tag. */
export function referrersImage(referrers: readonly Referrer[]): Referrer {
  const blobs = referrers.flatMap((referrer) => [referrer.manifest, ...referrer.blobs]);
  return { manifest: referrersIndex(referrers), blobs };
}

export async function pushReferrers(
  host: string,
  repository: string,
  digest: string,
  referrers: readonly Referrer[],
): Promise<void> {
  for (const { manifest, blobs } of referrers) {
    for (const blob of blobs) await pushBlob(host, repository, blob);
    await pushManifest(host, repository, manifest.digest, manifest);
  }
  await pushManifest(host, repository, digest.replace(':', '-'), referrersIndex(referrers));
}
