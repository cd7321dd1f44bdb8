/** What refers to a manifest in its repository (OCI 1.1): the list, and the sigstore bundles among it. */
import { RuntimeError } from './errors.js';
import type { JsonObject } from './json-shape.js';
import { asArray, asObject, asString, optional, property } from './json-shape.js';
import { MAX_MANIFEST_BYTES, parseDescriptor, parseManifest, type Descriptor } from './oci.js';
import { BUNDLE_TYPE_PREFIX, SIGN_PREDICATE } from './sigstore-bundle.js';
import { parseStrictJson } from './strict-json.js';

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const EMPTY_TYPE = 'application/vnd.oci.empty.v1+json';
// cosign, specs/BUNDLE_SPEC.md and pkg/oci/remote/write.go
const PREDICATE_KEY = 'dev.sigstore.bundle.predicateType';

/** Where the list is in a registry without the referrers API, and in a layout. */
export function referrersTag(digest: string): string {
  return digest.replace(':', '-');
}

/** Names of what is beside an image and none itself, by what cosign and the fallback tag write. */
export function isAttachmentTag(tag: string): boolean {
  return /^sha256-[0-9a-f]{64}(?:\.(?:sig|att|sbom))?$/.test(tag);
}

/** Those of a list that may be sigstore bundles, in its order. */
export function parseReferrers(bytes: Uint8Array, what: string): Descriptor[] {
  const document = asObject(parseStrictJson(bytes, what, MAX_MANIFEST_BYTES), what);
  const entries = asArray(property(document, 'manifests'), `${what}.manifests`);
  return entries.flatMap((entry, index) => {
    const where = `${what}.manifests[${index}]`;
    const descriptor = parseDescriptor(entry, where);
    const type = optional(asObject(entry, where), 'artifactType', where, asString, '');
    // What cosign itself puts into the fallback list has the type of the config in place of its own.
    const mayBe = ['', EMPTY_TYPE].includes(type) || type.startsWith(BUNDLE_TYPE_PREFIX);
    return mayBe && descriptor.mediaType === MANIFEST_TYPE ? [descriptor] : [];
  });
}

/** The bundle that a referrer consists of; undefined for one that is something else. */
export function parseBundleManifest(bytes: Uint8Array, what: string): Descriptor | undefined {
  const manifest = parseManifest(bytes, MANIFEST_TYPE, what);
  if (manifest.kind !== 'manifest') throw refused(`${what} is an index`);
  const [bundle, ...more] = manifest.layers;
  if (!bundle?.mediaType.startsWith(BUNDLE_TYPE_PREFIX)) return undefined;
  if (more.length > 0) throw refused(`${what} has ${more.length + 1} layers, not one bundle`);
  const predicate = predicateOf(asObject(parseStrictJson(bytes, what, MAX_MANIFEST_BYTES), what));
  if (predicate === '' || predicate === SIGN_PREDICATE) return bundle;
  throw refused(`${what} is an attestation of ${JSON.stringify(predicate.slice(0, 120))}`);
}

/** Nobody has signed this: it may only save a fetch. */
function predicateOf(manifest: JsonObject): string {
  const annotations = property(manifest, 'annotations') ?? {};
  const value = property(asObject(annotations, 'annotations'), PREDICATE_KEY);
  return typeof value === 'string' ? value : '';
}

function refused(message: string): RuntimeError {
  return new RuntimeError('invalid-argument', message);
}
