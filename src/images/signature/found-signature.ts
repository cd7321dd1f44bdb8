/** A signature as it was found beside an image, and how what holds it is fetched. */
import { sha256Of } from '../../core/digest.js';
import { RuntimeError, wrap } from '../../core/errors.js';
import type { Descriptor } from '../../core/oci.js';
import type { SignedClaim } from '../../core/simple-signing.js';
import type { ImageSource, RootDocument } from '../source/image-source.js';

export interface FoundSignature {
  /** For messages. */
  name: string;
  signed: Uint8Array;
  signature: Uint8Array;
  /** To be called once the signature holds, not before. */
  readClaim: () => SignedClaim;
}

/** Why what looked like a signature is none. */
export interface SignatureFault {
  fault: string;
}

/** undefined when there is no such tag. */
export async function resolveTag(
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

export async function fetchChecked(
  source: ImageSource,
  descriptor: Descriptor,
  maxBytes: number,
  what: string,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const bytes = await source.fetchDocument(descriptor, maxBytes, signal);
  const actual = sha256Of(bytes);
  if (actual === descriptor.digest) return bytes;
  throw new RuntimeError(
    'data-loss',
    `${what} ${descriptor.digest} came with content of digest ${actual}`,
  );
}

/** What says nothing of other signatures; a registry that cannot be asked is another thing. */
export function faultOf(error: unknown): SignatureFault {
  const isFault =
    error instanceof RuntimeError && ['invalid-argument', 'data-loss'].includes(error.kind);
  if (isFault) return { fault: error.message };
  throw error;
}
