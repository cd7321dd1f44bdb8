/** The signatures of one manifest or index, in cosign's older format and its newer one. */
import { signatureTag } from '../../core/simple-signing.js';
import type { OpenSibling } from '../source/image-origin-source.js';
import { fetchSignatures } from './cosign-signatures.js';
import { faultOf, type FoundSignature, type SignatureFault } from './found-signature.js';
import { fetchBundles } from './sigstore-bundles.js';

type Found = FoundSignature | SignatureFault;

/** Fetched as far as they are read, and once however often they are read. */
export class ImageSignatures {
  readonly #found: Found[] = [];
  readonly #rest: AsyncGenerator<Found>;

  constructor(digest: string, open: OpenSibling, signal: AbortSignal) {
    this.#rest = findSignatures(digest, open, signal);
  }

  /** For one reader at a time. */
  async *read(): AsyncGenerator<Found> {
    for (let index = 0; ; index += 1) {
      if (index === this.#found.length) {
        const next = await this.#rest.next();
        if (next.done === true) return;
        this.#found.push(next.value);
      }
      const found = this.#found[index];
      if (found) yield found;
    }
  }
}

/** What is malformed is told as a fault; a registry that cannot be asked ends the search. */
async function* findSignatures(
  digest: string,
  open: OpenSibling,
  signal: AbortSignal,
): AsyncGenerator<Found> {
  let isNone = true;
  try {
    for (const signature of await fetchSignatures(digest, open, signal)) {
      isNone = false;
      yield signature;
    }
  } catch (error) {
    isNone = false;
    yield faultOf(error);
  }
  try {
    for await (const found of fetchBundles(digest, open, signal)) {
      isNone = false;
      yield found;
    }
  } catch (error) {
    isNone = false;
    yield faultOf(error);
  }
  if (isNone) {
    yield {
      fault: `there is no signature ${signatureTag(digest)} and no sigstore bundle of ${digest}`,
    };
  }
}
