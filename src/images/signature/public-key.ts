/** Public keys that may sign images: ECDSA on the NIST curves, Ed25519, RSA. */
import { constants, createHash, createPublicKey, verify, type KeyObject } from 'node:crypto';
import { RuntimeError, wrap } from '../../core/errors.js';

export interface SigningKey {
  /** `SHA256:` and base64 of the key's digest, as ssh-keygen writes them. */
  fingerprint: string;
  hasSigned(payload: Uint8Array, signature: Uint8Array): boolean;
}

const LEAST_RSA_BITS = 2048;
// cosign signs with SHA-256 whatever the curve; sigstore's newer tools take a curve's own size.
const CURVE_HASHES: Readonly<Record<string, readonly string[]>> = {
  prime256v1: ['sha256'],
  secp384r1: ['sha256', 'sha384'],
  secp521r1: ['sha256', 'sha512'],
};

/** `what` names the key in errors. */
export function parsePublicKey(pem: string, what: string): SigningKey {
  const labels = [...pem.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----/g)].map(([, label]) => label);
  // Node would also take a certificate or a private key and make a public one of it.
  if (labels.length !== 1 || !/^(?:RSA )?PUBLIC KEY$/.test(labels[0] ?? '')) {
    throw refused(what, 'holds no public key in PEM format (one BEGIN PUBLIC KEY, as cosign.pub)');
  }
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch (error) {
    throw wrap(error, `${what} cannot be read as a public key`, 'failed-precondition');
  }
  const der = key.export({ type: 'spki', format: 'der' });
  const digest = createHash('sha256').update(der).digest('base64').replace(/=+$/, '');
  return { fingerprint: `SHA256:${digest}`, hasSigned: verifierOf(key, what) };
}

function verifierOf(key: KeyObject, what: string): SigningKey['hasSigned'] {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  switch (type) {
    case 'ec': {
      const curve = details?.namedCurve ?? '';
      const hashes = CURVE_HASHES[curve];
      if (!hashes) throw refused(what, `is of curve ${curve}: use P-256, P-384 or P-521`);
      return (payload, signature) => hashes.some((hash) => verify(hash, payload, key, signature));
    }
    case 'ed25519':
      return (payload, signature) => verify(null, payload, key, signature);
    case 'rsa':
    case 'rsa-pss': {
      const bits = details?.modulusLength ?? 0;
      if (bits < LEAST_RSA_BITS) throw refused(what, `has ${bits} bits: use ${LEAST_RSA_BITS}`);
      const pss = {
        key,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_AUTO,
      };
      return (payload, signature) =>
        verify('sha256', payload, pss, signature) ||
        (type === 'rsa' && verify('sha256', payload, key, signature));
    }
    default:
      throw refused(what, `is a key of type ${type ?? 'none'}: use ECDSA, Ed25519 or RSA`);
  }
}

function refused(what: string, why: string): RuntimeError {
  return new RuntimeError('failed-precondition', `${what} ${why}`);
}
