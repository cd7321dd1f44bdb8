/** Sigstore bundles: a signature by a key over an in-toto statement, as cosign 3 writes them. */
import { RuntimeError } from './errors.js';
import { isDigest } from './image-reference.js';
import { asArray, asObject, asString, onlyKeys, property } from './json-shape.js';
import { MOST_SIGNATURE_CHARACTERS, type SignedClaim } from './simple-signing.js';
import { parseStrictJson } from './strict-json.js';

export const BUNDLE_TYPE_PREFIX = 'application/vnd.dev.sigstore.bundle';
// protobuf-specs, sigstore_bundle.proto; the second is what the same version was called at first.
const BUNDLE_TYPES = [`${BUNDLE_TYPE_PREFIX}.v0.3+json`, `${BUNDLE_TYPE_PREFIX}+json;version=0.3`];
const PAYLOAD_TYPE = 'application/vnd.in-toto+json';
const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';
/** Of `cosign sign`. Attestations (an SBOM, a scan's findings) may say anything of an image. */
export const SIGN_PREDICATE = 'https://sigstore.dev/cosign/sign/v1';

/** Entries of transparency logs and timestamps included. */
export const MAX_BUNDLE_BYTES = 256 << 10;

export interface SignedStatement {
  statement: Uint8Array;
  /** What the signature is of. */
  signed: Uint8Array;
  signature: Uint8Array;
}

/** Nothing of it is verified yet; what it has of logs, timestamps and hints of keys is not read. */
export function parseBundle(bytes: Uint8Array, what: string): SignedStatement {
  const bundle = asObject(parseStrictJson(bytes, what, MAX_BUNDLE_BYTES), what);
  const mediaType = asString(property(bundle, 'mediaType'), `${what}.mediaType`);
  if (!BUNDLE_TYPES.includes(mediaType)) {
    throw refused(`${what} is of type ${quote(mediaType)}: known is ${BUNDLE_TYPES[0] ?? ''}`);
  }
  const material = asObject(
    property(bundle, 'verificationMaterial'),
    `${what}.verificationMaterial`,
  );
  if (property(material, 'publicKey') === undefined) {
    throw refused(`${what} was signed with a certificate, not with a key`);
  }
  if (property(bundle, 'dsseEnvelope') === undefined || Object.hasOwn(bundle, 'messageSignature')) {
    throw refused(`${what} holds no dsseEnvelope, or not that alone`);
  }
  const where = `${what}.dsseEnvelope`;
  const envelope = asObject(property(bundle, 'dsseEnvelope'), where);
  const payloadType = asString(property(envelope, 'payloadType'), `${where}.payloadType`);
  if (payloadType !== PAYLOAD_TYPE) {
    throw refused(`${where}.payloadType is ${quote(payloadType)}, not "${PAYLOAD_TYPE}"`);
  }
  const [only, ...more] = asArray(property(envelope, 'signatures'), `${where}.signatures`);
  if (only === undefined || more.length > 0) throw refused(`${where} has not one signature`);
  const place = `${where}.signatures[0]`;
  const signature = property(asObject(only, place), 'sig');
  const statement = fromBase64(property(envelope, 'payload'), `${where}.payload`, MAX_BUNDLE_BYTES);
  return {
    statement,
    signed: preAuthEncoding(payloadType, statement),
    signature: fromBase64(signature, `${place}.sig`, MOST_SIGNATURE_CHARACTERS),
  };
}

/** DSSE's PAE: type and content with their lengths, so that neither can pass for a part of the other. */
function preAuthEncoding(type: string, payload: Uint8Array): Uint8Array {
  const head = `DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `;
  return Buffer.concat([Buffer.from(head), payload]);
}

/** Read only after its signature was verified; strict, as for the older format. */
export function parseStatement(bytes: Uint8Array, what: string): SignedClaim {
  const statement = asObject(parseStrictJson(bytes, what, MAX_BUNDLE_BYTES), what);
  onlyKeys(statement, ['_type', 'subject', 'predicateType', 'predicate'], what);
  const type = asString(property(statement, '_type'), `${what}._type`);
  if (type !== STATEMENT_TYPE) {
    throw refused(`${what}._type is ${quote(type)}, not "${STATEMENT_TYPE}"`);
  }
  const predicate = asString(property(statement, 'predicateType'), `${what}.predicateType`);
  if (predicate !== SIGN_PREDICATE) {
    throw refused(`${what}.predicateType is ${quote(predicate)}, not "${SIGN_PREDICATE}"`);
  }
  const [only, ...more] = asArray(property(statement, 'subject'), `${what}.subject`);
  if (only === undefined || more.length > 0) throw refused(`${what} has not one subject`);
  const where = `${what}.subject[0].digest`;
  const digests = asObject(property(asObject(only, `${what}.subject[0]`), 'digest'), where);
  const digest = `sha256:${asString(property(digests, 'sha256'), `${where}.sha256`)}`;
  if (!isDigest(digest)) throw refused(`${where} names no sha256 digest`);
  return { digest, reference: null };
}

function fromBase64(value: unknown, where: string, mostCharacters: number): Uint8Array {
  const text = asString(value, where);
  const isBase64 = text.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(text);
  if (isBase64 && text.length <= mostCharacters) return Buffer.from(text, 'base64');
  throw refused(`${where} is not base64 of at most ${mostCharacters} characters`);
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 120));
}

function refused(message: string): RuntimeError {
  return new RuntimeError('invalid-argument', message);
}
