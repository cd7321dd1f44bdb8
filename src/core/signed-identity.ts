/** Whether a signature was made for the image that was asked for: the signedIdentity of a policy. */
import { RuntimeError } from './errors.js';
import {
  imageName,
  isRegistry,
  isRepository,
  parseImageReference,
  type ImageReference,
} from './image-reference.js';
import type { JsonObject } from './json-shape.js';
import { asObject, asString, onlyKeys, property } from './json-shape.js';

export type IdentityRule =
  /** The key has signed this digest, under whatever name. Ours: other readers of such files lack it. */
  | { type: 'matchDigest' }
  | { type: 'matchExact' | 'matchRepoDigestOrExact' | 'matchRepository' }
  | { type: 'exactReference'; reference: string }
  | { type: 'exactRepository'; repository: string }
  | { type: 'remapIdentity'; prefix: string; signedPrefix: string };

/** As a signature names it: with a tag, a digest, both or neither. */
interface SignedReference {
  name: string;
  tag: string;
  digest: string;
}

/** A policy that says nothing means matchRepoDigestOrExact (containers-policy.json(5)). */
export function parseIdentityRule(value: unknown, where: string): IdentityRule {
  if (value === undefined) return { type: 'matchRepoDigestOrExact' };
  const object = asObject(value, where);
  const type = asString(property(object, 'type'), `${where}.type`);
  const text = (key: string): string => asString(property(object, key), `${where}.${key}`);
  switch (type) {
    case 'matchDigest':
    case 'matchExact':
    case 'matchRepoDigestOrExact':
    case 'matchRepository':
      onlyKeys(object, ['type'], where);
      return { type };
    case 'exactReference': {
      onlyKeys(object, ['type', 'dockerReference'], where);
      const reference = parseIn(text('dockerReference'), `${where}.dockerReference`);
      if (reference.tag !== '' || reference.digest !== '') {
        return { type, reference: formatSigned(reference) };
      }
      throw refused(`${where}.dockerReference needs a tag or a digest`);
    }
    case 'exactRepository': {
      onlyKeys(object, ['type', 'dockerRepository'], where);
      const reference = parseIn(text('dockerRepository'), `${where}.dockerRepository`);
      if (reference.tag === '' && reference.digest === '') {
        return { type, repository: reference.name };
      }
      throw refused(`${where}.dockerRepository has a tag or digest: write the repository alone`);
    }
    case 'remapIdentity':
      onlyKeys(object, ['type', 'prefix', 'signedPrefix'], where);
      return {
        type,
        prefix: prefix(object, 'prefix', where),
        signedPrefix: prefix(object, 'signedPrefix', where),
      };
    default:
      throw refused(
        `${where}.type ${JSON.stringify(type.slice(0, 80))} is unknown: use matchRepoDigestOrExact, matchExact, matchRepository, exactReference, exactRepository, remapIdentity or matchDigest`,
      );
  }
}

/**
 * Why a signature that names `signed` (null: nothing) does not count for `image`; null when it does. An image that did
 * not come from a registry (null) has no name of its own to compare with.
 */
export function identityFault(
  rule: IdentityRule,
  signed: string | null,
  image: ImageReference | null,
): string | null {
  if (rule.type === 'matchDigest') return null;
  // Otherwise whoever writes to the repository could put another image the key has signed in its place.
  if (signed === null) {
    return `it names no image, as all of its format (cosign 3), and ${rule.type} wants a name: signedIdentity matchDigest takes it, where the key alone may decide`;
  }
  const found = parseSigned(signed);
  if (!found) return `it names ${quote(signed)}, which is no image reference`;
  const expected = (what: string): string => `it is for ${quote(signed)}, not for ${what}`;
  if (rule.type === 'exactReference') {
    return formatSigned(found) === rule.reference ? null : expected(quote(rule.reference));
  }
  if (rule.type === 'exactRepository') {
    return found.name === rule.repository ? null : expected(quote(rule.repository));
  }
  if (image === null) {
    return `an image that is not from a registry has no name to compare with ${quote(signed)}: use exactRepository or exactReference`;
  }
  const wanted: SignedReference = {
    name: rule.type === 'remapIdentity' ? remap(rule, imageName(image)) : imageName(image),
    tag: image.tag,
    digest: image.digest,
  };
  if (found.name !== wanted.name) return expected(quote(wanted.name));
  if (rule.type === 'matchRepository') return null;
  if (formatSigned(found) === formatSigned(wanted)) return null;
  // By digest the content is fixed: the repository is all that is left to compare.
  if (wanted.digest !== '' && rule.type !== 'matchExact') return null;
  const advice =
    found.tag === '' && found.digest === ''
      ? ' (cosign names no tag: use signedIdentity matchRepository)'
      : '';
  return `${expected(quote(formatSigned(wanted)))}${advice}`;
}

function remap(rule: { prefix: string; signedPrefix: string }, name: string): string {
  const rest = name.slice(rule.prefix.length);
  const matches = name.startsWith(rule.prefix) && (rest === '' || rest.startsWith('/'));
  return matches ? `${rule.signedPrefix}${rest}` : name;
}

/** A host with optional port and, behind slashes, a part of a repository's name. */
function prefix(object: JsonObject, key: string, where: string): string {
  const text = asString(property(object, key), `${where}.${key}`);
  const [registry = '', ...rest] = text.split('/');
  if (isRegistry(registry) && (rest.length === 0 || isRepository(rest.join('/')))) return text;
  throw refused(
    `${where}.${key} ${quote(text)} is not host[:port][/namespace…] in full, without tag or digest`,
  );
}

/** The full form, but without the `latest` that a pull would add; undefined for what is none. */
function parseSigned(text: string): SignedReference | undefined {
  const at = text.indexOf('@');
  const named = at < 0 ? text : text.slice(0, at);
  const hasTag = named.lastIndexOf(':') > named.lastIndexOf('/');
  try {
    const { digest } = parseImageReference(text);
    const reference = parseImageReference(named);
    return { name: imageName(reference), tag: hasTag ? reference.tag : '', digest };
  } catch (error) {
    if (error instanceof RuntimeError) return undefined;
    throw error;
  }
}

function parseIn(text: string, where: string): SignedReference {
  const reference = parseSigned(text);
  if (reference) return reference;
  throw refused(`${where} ${quote(text)} is no image reference`);
}

function formatSigned({ name, tag, digest }: SignedReference): string {
  return `${name}${tag === '' ? '' : `:${tag}`}${digest === '' ? '' : `@${digest}`}`;
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 300));
}

function refused(message: string): RuntimeError {
  return new RuntimeError('invalid-argument', message);
}
