/** The signatures that were put beside an image with cosign, fetched from where the image is. */
import { sha256Of } from '../../core/digest.js';
import { RuntimeError, wrap } from '../../core/errors.js';
import { MAX_MANIFEST_BYTES } from '../../core/oci.js';
import {
  MAX_PAYLOAD_BYTES,
  parseSignatureManifest,
  signatureTag,
  type AttachedSignature,
} from '../../core/simple-signing.js';

import type { OpenSibling } from '../source/image-origin-source.js';
import type { ImageSource, RootDocument } from '../source/image-source.js';

export interface Signature {
  payload: Uint8Array;
  signature: Uint8Array;
}

/** Those of one manifest or index, [] when there are none. Nothing in them is verified yet. */
export async function fetchSignatures(
  digest: string,
  open: OpenSibling,
  signal: AbortSignal,
): Promise<Signature[]> {
  const tag = signatureTag(digest);
  const source = await open(tag);
  const manifest = await resolve(source, tag, signal);
  if (manifest === undefined) return [];
  if (manifest.bytes.length > MAX_MANIFEST_BYTES) {
    throw new RuntimeError('invalid-argument', `${tag} is larger than ${MAX_MANIFEST_BYTES} bytes`);
  }
  const payloads = new Map<string, Uint8Array>();
  const found: Signature[] = [];
  for (const { payload, signature } of parseSignatureManifest(manifest.bytes, tag)) {
    const bytes = payloads.get(payload.digest) ?? (await fetchPayload(source, payload, signal));
    payloads.set(payload.digest, bytes);
    found.push({ payload: bytes, signature });
  }
  return found;
}

async function resolve(
  source: ImageSource,
  tag: string,
  signal: AbortSignal,
): Promise<RootDocument | undefined> {
  try {
    return await source.resolve(signal);
  } catch (error) {
    if (error instanceof RuntimeError && error.kind === 'not-found') return undefined;
    throw wrap(error, `cannot fetch the signatures ${tag}`);
  }
}

async function fetchPayload(
  source: ImageSource,
  payload: AttachedSignature['payload'],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const bytes = await source.fetchDocument(payload, MAX_PAYLOAD_BYTES, signal);
  const actual = sha256Of(bytes);
  if (actual === payload.digest) return bytes;
  throw new RuntimeError(
    'data-loss',
    `signature payload ${payload.digest} came with content of digest ${actual}`,
  );
}
