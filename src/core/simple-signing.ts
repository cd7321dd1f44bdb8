/** Signatures as cosign keeps them in a registry: a manifest of payloads, each with its signature. */
import { RuntimeError } from './errors.js';
import { isDigest } from './image-reference.js';
import type { JsonObject } from './json-shape.js';
import { asArray, asObject, asString, onlyKeys, property } from './json-shape.js';
import { MAX_MANIFEST_BYTES, parseDescriptor, type Descriptor } from './oci.js';
import { parseStrictJson } from './strict-json.js';

// cosign, specs/SIGNATURE_SPEC.md
const PAYLOAD_TYPE = 'application/vnd.dev.cosign.simplesigning.v1+json';
const SIGNATURE_KEY = 'dev.cosignproject.cosign/signature';
const SIGNED_TYPE = 'cosign container image signature';

export const MAX_PAYLOAD_BYTES = 64 << 10;
const MOST_SIGNATURES = 50;
/** Of an RSA key of 16384 bits, in base64. */
export const MOST_SIGNATURE_CHARACTERS = 2732;

export interface AttachedSignature {
  payload: Descriptor;
  signature: Uint8Array;
}

/** What was signed. */
export interface SignedClaim {
  /** Of the manifest or index. */
  digest: string;
  /** The name it was signed under, as the signer has written it; null where the format has none. */
  reference: string | null;
}

/** Where the signatures of a manifest are: in the same repository, under this tag. */
export function signatureTag(digest: string): string {
  return `${digest.replace(':', '-')}.sig`;
}

export function parseSignatureManifest(bytes: Uint8Array, what: string): AttachedSignature[] {
  const document = asObject(parseStrictJson(bytes, what, MAX_MANIFEST_BYTES), what);
  const layers = asArray(property(document, 'layers'), `${what}.layers`);
  if (layers.length > MOST_SIGNATURES) {
    throw refused(`${what} has ${layers.length} signatures, more than ${MOST_SIGNATURES}`);
  }
  return layers.flatMap((layer, index) => {
    const where = `${what}.layers[${index}]`;
    const payload = parseDescriptor(layer, where);
    // What else may be attached says nothing about who signed.
    if (payload.mediaType !== PAYLOAD_TYPE) return [];
    if (payload.size > MAX_PAYLOAD_BYTES) {
      throw refused(`${where} is larger than ${MAX_PAYLOAD_BYTES} bytes`);
    }
    const text = payload.annotations.find(([key]) => key === SIGNATURE_KEY)?.[1] ?? '';
    if (text.length <= MOST_SIGNATURE_CHARACTERS && /^[A-Za-z0-9+/]+={0,2}$/.test(text)) {
      return [{ payload, signature: Buffer.from(text, 'base64') }];
    }
    throw refused(`${where} has no base64 signature in annotation ${SIGNATURE_KEY}`);
  });
}

/** Read only after its signature was verified; strict, as containers/image is. */
export function parseSignedClaim(bytes: Uint8Array, what: string): SignedClaim {
  const document = asObject(parseStrictJson(bytes, what, MAX_PAYLOAD_BYTES), what);
  onlyKeys(document, ['critical', 'optional'], what);
  const critical = part(document, 'critical', what, ['identity', 'image', 'type']);
  const where = `${what}.critical`;
  const type = asString(property(critical, 'type'), `${where}.type`);
  if (type !== SIGNED_TYPE) {
    throw refused(`${where}.type is ${JSON.stringify(type.slice(0, 80))}, not "${SIGNED_TYPE}"`);
  }
  const image = part(critical, 'image', where, ['docker-manifest-digest']);
  const identity = part(critical, 'identity', where, ['docker-reference']);
  const digest = asString(property(image, 'docker-manifest-digest'), `${where}.image`);
  if (!isDigest(digest)) throw refused(`${where}.image names no sha256 digest`);
  return {
    digest,
    reference: asString(property(identity, 'docker-reference'), `${where}.identity`),
  };
}

function part(object: JsonObject, key: string, where: string, known: string[]): JsonObject {
  const found = asObject(property(object, key), `${where}.${key}`);
  onlyKeys(found, known, `${where}.${key}`);
  return found;
}

function refused(message: string): RuntimeError {
  return new RuntimeError('invalid-argument', message);
}
