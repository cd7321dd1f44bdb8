/** Signatures as cosign makes them, by node:crypto, pushed beside an image. */
import { constants, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { pushBlob, pushManifest } from './docker-registry.js';
import { descriptorOf, makeBlob, type Blob } from './oci-image.js';

export interface KeyPair {
  privateKey: KeyObject;
  /** PEM, as in cosign.pub. */
  publicPem: string;
}

export type Sign = (payload: Buffer, key: KeyObject) => Buffer;

export interface SignedPayload {
  payload: Blob;
  /** base64 */
  signature: string;
}

export function ecKeys(namedCurve = 'P-256'): KeyPair {
  return keyPair(generateKeyPairSync('ec', { namedCurve }));
}

export function ed25519Keys(): KeyPair {
  return keyPair(generateKeyPairSync('ed25519'));
}

export function rsaKeys(modulusLength = 2048): KeyPair {
  return keyPair(generateKeyPairSync('rsa', { modulusLength }));
}

function keyPair(keys: { privateKey: KeyObject; publicKey: KeyObject }): KeyPair {
  const publicPem = keys.publicKey.export({ type: 'spki', format: 'pem' }).toString();
  return { privateKey: keys.privateKey, publicPem };
}

export const signSha256: Sign = (payload, key) => sign('sha256', payload, key);
export const signEd25519: Sign = (payload, key) => sign(null, payload, key);
export const signPss: Sign = (payload, key) =>
  sign('sha256', payload, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 });

/** `cosign sign` writes this payload, to the letter. */
export function payloadOf(digest: string, reference: string): string {
  return JSON.stringify({
    critical: {
      identity: { 'docker-reference': reference },
      image: { 'docker-manifest-digest': digest },
      type: 'cosign container image signature',
    },
    optional: null,
  });
}

export function signPayload(
  payload: string,
  key: KeyPair,
  signWith: Sign = signSha256,
): SignedPayload {
  const bytes = Buffer.from(payload);
  return {
    payload: makeBlob('application/vnd.dev.cosign.simplesigning.v1+json', bytes),
    signature: signWith(bytes, key.privateKey).toString('base64'),
  };
}

export function signatureManifest(signed: readonly SignedPayload[]): {
  manifest: Blob;
  blobs: Blob[];
} {
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const config = makeBlob('application/vnd.oci.image.config.v1+json', '{}');
  const manifest = makeBlob(
    mediaType,
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: descriptorOf(config),
      layers: signed.map(({ payload, signature }) => ({
        ...descriptorOf(payload),
        annotations: { 'dev.cosignproject.cosign/signature': signature },
      })),
    }),
  );
  const payloads = new Map(signed.map(({ payload }) => [payload.digest, payload]));
  return { manifest, blobs: [config, ...payloads.values()] };
}

export async function pushSignatures(
  host: string,
  repository: string,
  digest: string,
  signed: readonly SignedPayload[],
): Promise<void> {
  const { manifest, blobs } = signatureManifest(signed);
  for (const blob of blobs) await pushBlob(host, repository, blob);
  await pushManifest(host, repository, `${digest.replace(':', '-')}.sig`, manifest);
}
