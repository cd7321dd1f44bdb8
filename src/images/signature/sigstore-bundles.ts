/** The signatures that cosign 3 put beside an image: sigstore bundles that refer to its manifest. */
import { RuntimeError, wrap } from '../../core/errors.js';
import { MAX_MANIFEST_BYTES, type Descriptor } from '../../core/oci.js';
import { parseBundleManifest, parseReferrers, referrersTag } from '../../core/referrers.js';
import { MAX_BUNDLE_BYTES, parseBundle, parseStatement } from '../../core/sigstore-bundle.js';
import type { OpenSibling } from '../source/image-origin-source.js';
import type { ImageSource } from '../source/image-source.js';
import {
  faultOf,
  fetchChecked,
  resolveTag,
  type FoundSignature,
  type SignatureFault,
} from './found-signature.js';

/** An image that is signed anew each night still passes: the last are the newest under a tag. */
const MOST_REFERRERS = 50;

/** One after the other: who has found a good one asks for no more. Nothing of them is verified yet. */
export async function* fetchBundles(
  digest: string,
  open: OpenSibling,
  signal: AbortSignal,
): AsyncGenerator<FoundSignature | SignatureFault> {
  const tag = referrersTag(digest);
  const source = await open(tag);
  const referrers = await listReferrers(source, digest, tag, signal);
  const looked = referrers.slice(-MOST_REFERRERS).reverse();
  for (const referrer of looked) {
    const name = `bundle ${referrer.digest} of ${digest}`;
    try {
      const found = await fetchBundle(source, referrer, name, signal);
      if (found) yield found;
    } catch (error) {
      // Collected meanwhile, or never pushed: the list is one thing and what it lists another.
      const isGone = error instanceof RuntimeError && error.kind === 'not-found';
      yield isGone ? { fault: error.message } : faultOf(error);
    }
  }
  if (looked.length < referrers.length) {
    const most = `the last ${MOST_REFERRERS}`;
    yield { fault: `of ${referrers.length} referrers of ${digest} ${most} alone were looked at` };
  }
}

async function listReferrers(
  source: ImageSource,
  digest: string,
  tag: string,
  signal: AbortSignal,
): Promise<Descriptor[]> {
  try {
    const listed = await source.referrers?.(digest, signal);
    if (listed !== undefined) return listed;
  } catch (error) {
    throw wrap(error, `cannot list the sigstore bundles of ${digest}`);
  }
  const list = await resolveTag(source, tag, signal);
  return list === undefined ? [] : parseReferrers(list.bytes, `list of referrers ${tag}`);
}

/** undefined for what is no bundle: anything may refer to an image. */
async function fetchBundle(
  source: ImageSource,
  referrer: Descriptor,
  name: string,
  signal: AbortSignal,
): Promise<FoundSignature | undefined> {
  const what = `referrer ${referrer.digest}`;
  const manifest = await fetchChecked(source, referrer, MAX_MANIFEST_BYTES, 'referrer', signal);
  const layer = parseBundleManifest(manifest, what);
  if (layer === undefined) return undefined;
  const bytes = await fetchChecked(source, layer, MAX_BUNDLE_BYTES, 'bundle', signal);
  const { statement, signed, signature } = parseBundle(bytes, `bundle ${layer.digest}`);
  const readClaim = () => parseStatement(statement, 'its statement');
  return { name, signed, signature, readClaim };
}
