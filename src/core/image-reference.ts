/** Image references as people write them, in the one full form that everything else uses. */
import { RuntimeError } from './errors.js';

/** Exactly one of `tag` and `digest` is set, the other is ''. */
export interface ImageReference {
  /** Host with optional port; `docker.io` for names without one. */
  registry: string;
  repository: string;
  tag: string;
  /** `sha256:<64 hex>` */
  digest: string;
}

// The grammar of github.com/distribution/reference, which docker, containerd and the kubelet share.
const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const REGISTRY = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]{1,5})?$`);
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const MOST_NAME_CHARACTERS = 255;

export function isTag(text: string): boolean {
  return TAG.test(text);
}

export function isRegistry(text: string): boolean {
  return REGISTRY.test(text);
}

export function isRepository(text: string): boolean {
  return text.split('/').every((component) => COMPONENT.test(component));
}

export function isDigest(text: string): boolean {
  return DIGEST.test(text);
}

/**
 * `busybox` → `docker.io/library/busybox:latest`, and so on as docker and containerd do. Of a
 * reference with a tag and a digest the digest counts and the tag is dropped.
 */
export function parseImageReference(text: string): ImageReference {
  const at = text.indexOf('@');
  const digest = at < 0 ? '' : text.slice(at + 1);
  const named = at < 0 ? text : text.slice(0, at);
  // A colon before the last slash belongs to a port.
  const colon = named.lastIndexOf(':');
  const hasTag = colon > named.lastIndexOf('/');
  const tag = hasTag ? named.slice(colon + 1) : '';
  const { registry, repository } = splitName(hasTag ? named.slice(0, colon) : named);

  if (!isRegistry(registry)) throw malformed(text, `${quote(registry)} is no registry`);
  if (!isRepository(repository)) {
    throw malformed(text, `${quote(repository)} is no repository name`);
  }
  if (`${registry}/${repository}`.length > MOST_NAME_CHARACTERS) {
    throw malformed(text, `its name is longer than ${MOST_NAME_CHARACTERS} characters`);
  }
  if (hasTag && !TAG.test(tag)) throw malformed(text, `${quote(tag)} is no tag`);
  if (at >= 0 && !DIGEST.test(digest)) {
    throw malformed(text, 'its digest is not sha256: and 64 lower-case hex digits');
  }
  if (digest !== '') return { registry, repository, tag: '', digest };
  return { registry, repository, tag: hasTag ? tag : 'latest', digest: '' };
}

/** `registry/repository` */
export function imageName(reference: ImageReference): string {
  return `${reference.registry}/${reference.repository}`;
}

export function formatImageReference(reference: ImageReference): string {
  const name = imageName(reference);
  return reference.digest === '' ? `${name}:${reference.tag}` : `${name}@${reference.digest}`;
}

/** The first component is a host when it cannot be a name: a dot, a port, `localhost`, a capital. */
function splitName(name: string): { registry: string; repository: string } {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isHost = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  if (!isHost) {
    return { registry: 'docker.io', repository: slash < 0 ? `library/${name}` : name };
  }
  const repository = name.slice(slash + 1);
  if (first !== 'docker.io' && first !== 'index.docker.io') return { registry: first, repository };
  return {
    registry: 'docker.io',
    repository: repository.includes('/') ? repository : `library/${repository}`,
  };
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}

function malformed(text: string, why: string): RuntimeError {
  return new RuntimeError(
    'invalid-argument',
    `image reference ${JSON.stringify(text.slice(0, 300))} is malformed: ${why}`,
  );
}
