/** The signatures that cosign 2 put beside an image, under a tag, fetched from where the image is. */
import { RuntimeError } from '../../core/errors.js';
import { MAX_MANIFEST_BYTES } from '../../core/oci.js';
import {
  MAX_PAYLOAD_BYTES,
  parseSignatureManifest,
  parseSignedClaim,
  signatureTag,
} from '../../core/simple-signing.js';
import type { OpenSibling } from '../source/image-origin-source.js';
import { fetchChecked, resolveTag, type FoundSignature } from './found-signature.js';

/** Those of one manifest or index, [] when there are none. Nothing in them is verified yet. */
export async function fetchSignatures(
  digest: string,
  open: OpenSibling,
  signal: AbortSignal,
): Promise<FoundSignature[]> {
  const tag = signatureTag(digest);
  const source = await open(tag);
  const manifest = await resolveTag(source, tag, signal);
  if (manifest === undefined) return [];
  if (manifest.bytes.length > MAX_MANIFEST_BYTES) {
    throw new RuntimeError('invalid-argument', `${tag} is larger than ${MAX_MANIFEST_BYTES} bytes`);
  }
  const payloads = new Map<string, Uint8Array>();
  const found: FoundSignature[] = [];
  for (const { payload, signature } of parseSignatureManifest(manifest.bytes, tag)) {
    const signed =
      payloads.get(payload.digest) ??
      (await fetchChecked(source, payload, MAX_PAYLOAD_BYTES, 'signature payload', signal));
    payloads.set(payload.digest, signed);
    found.push({
      name: `signature ${found.length + 1} of ${digest}`,
      signed,
      signature,
      readClaim: () => parseSignedClaim(signed, 'its payload'),
    });
  }
  return found;
}
