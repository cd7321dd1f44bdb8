/** The signature policy: containers-policy.json(5), read into requirements for each scope. */
import { RuntimeError } from './errors.js';
import {
  imageName,
  isDigest,
  isRegistry,
  isRepository,
  isTag,
  type ImageReference,
} from './image-reference.js';
import type { JsonObject } from './json-shape.js';
import { asArray, asObject, asString, asStrings, onlyKeys, property } from './json-shape.js';
import { parseIdentityRule, type IdentityRule } from './signed-identity.js';
import { parseStrictJson } from './strict-json.js';

export const MAX_POLICY_BYTES = 1 << 20;

/** Where a public key is: a file, or its text. */
export type KeySource = { path: string } | { pem: string; where: string };

export interface SigstoreSigned {
  type: 'sigstoreSigned';
  /** Any of them may have signed. */
  keys: KeySource[];
  identity: IdentityRule;
}

export type Requirement =
  | { type: 'insecureAcceptAnything' | 'reject' }
  | SigstoreSigned
  /** Known to other programs that read the same file; an image it is for cannot be accepted here. */
  | { type: 'unsupported'; what: string };

export interface SignaturePolicy {
  default: Requirement[];
  /** By transport, then by scope. */
  transports: ReadonlyMap<string, ReadonlyMap<string, Requirement[]>>;
}

/** What counts for one image, all of it. */
export interface ScopedRequirements {
  /** The place in the policy: `default`, or `transports.docker["quay.io/team"]`. */
  where: string;
  requirements: readonly Requirement[];
}

type CheckScope = (scope: string) => string | null;

/** The transports of containers-transports(5), and what is wrong with a scope of each. */
const TRANSPORTS: ReadonlyMap<string, CheckScope> = new Map([
  ['docker', dockerScopeFault],
  ...['oci', 'oci-archive', 'dir', 'docker-archive'].map((name): [string, CheckScope] => [
    name,
    pathScopeFault,
  ]),
  // No image of this agent comes by these.
  ...['atomic', 'containers-storage', 'docker-daemon', 'ostree', 'sif', 'tarball'].map(
    (name): [string, CheckScope] => [name, () => null],
  ),
]);

const KEY_FIELDS = ['keyPath', 'keyPaths', 'keyData', 'keyDatas'] as const;
const UNSUPPORTED_FIELDS = [
  'fulcio',
  'pki',
  'rekorPublicKeyPath',
  'rekorPublicKeyPaths',
  'rekorPublicKeyData',
  'rekorPublicKeyDatas',
];

/** Strict: what is not understood must not pass for a policy. `what` names the file in errors. */
export function parseSignaturePolicy(bytes: Uint8Array, what: string): SignaturePolicy {
  const at = (path: string): string => `${what}: ${path}`;
  const document = asObject(parseStrictJson(bytes, what, MAX_POLICY_BYTES), what);
  onlyKeys(document, ['default', 'transports'], what);
  const transports = new Map<string, ReadonlyMap<string, Requirement[]>>();
  const given = asObject(property(document, 'transports') ?? {}, at('transports'));
  for (const [name, scopes] of Object.entries(given)) {
    const where = at(`transports.${name}`);
    const check = TRANSPORTS.get(name);
    if (!check) throw refused(`${where} is no transport: use ${[...TRANSPORTS.keys()].join(', ')}`);
    const byScope = new Map<string, Requirement[]>();
    for (const [scope, list] of Object.entries(asObject(scopes, where))) {
      const place = `${where}[${JSON.stringify(scope.slice(0, 300))}]`;
      const fault = scope === '' ? null : check(scope);
      if (fault !== null) throw refused(`${place} can match no image: ${fault}`);
      byScope.set(scope, parseRequirements(list, place));
    }
    transports.set(name, byScope);
  }
  return { default: parseRequirements(property(document, 'default'), at('default')), transports };
}

/** The most specific scope's requirements: those of `scopes` come in that order. */
export function requirementsFor(
  policy: SignaturePolicy,
  transport: string,
  scopes: readonly string[],
): ScopedRequirements {
  const known = policy.transports.get(transport);
  for (const scope of [...scopes, '']) {
    const requirements = known?.get(scope);
    if (!requirements) continue;
    return { where: `transports.${transport}[${JSON.stringify(scope)}]`, requirements };
  }
  return { where: 'default', requirements: policy.default };
}

/** Reference, repository, its parents, host with port, then `*.` wildcards of the host's domains. */
export function scopesOfReference(reference: ImageReference): string[] {
  const name = imageName(reference);
  const { tag, digest, registry } = reference;
  const parts = name.split('/');
  const labels = registry.replace(/:\d+$/, '').split('.');
  return [
    digest === '' ? `${name}:${tag}` : `${name}@${digest}`,
    ...parts.map((_, index) => parts.slice(0, parts.length - index).join('/')),
    ...labels.slice(1).map((_, index) => `*.${labels.slice(index + 1).join('.')}`),
  ];
}

/** An absolute path without symbolic links, and the folders above it. */
export function scopesOfPath(path: string): string[] {
  const parts = path.split('/');
  return parts.slice(1).map((_, index) => parts.slice(0, parts.length - index).join('/'));
}

/** A policy by which any one of `keys` must have signed, in whatever repository's name. */
export function policyOfKeys(keys: KeySource[]): SignaturePolicy {
  return {
    default: [{ type: 'sigstoreSigned', keys, identity: { type: 'matchDigest' } }],
    transports: new Map(),
  };
}

function parseRequirements(value: unknown, where: string): Requirement[] {
  if (value === undefined) throw refused(`${where} is missing: give a list of requirements`);
  const list = asArray(value, where);
  if (list.length === 0) throw refused(`${where} is an empty list: name at least one requirement`);
  return list.map((item, index) => parseRequirement(item, `${where}[${index}]`));
}

function parseRequirement(value: unknown, where: string): Requirement {
  const object = asObject(value, where);
  const type = asString(property(object, 'type'), `${where}.type`);
  switch (type) {
    case 'insecureAcceptAnything':
    case 'reject':
      onlyKeys(object, ['type'], where);
      return { type };
    case 'sigstoreSigned':
      return parseSigstoreSigned(object, where);
    case 'signedBy':
    case 'signedBaseLayer':
      return { type: 'unsupported', what: `requirement type ${JSON.stringify(type)}` };
    default:
      throw refused(
        `${where}.type ${JSON.stringify(type.slice(0, 80))} is unknown: use insecureAcceptAnything, reject or sigstoreSigned`,
      );
  }
}

function parseSigstoreSigned(object: JsonObject, where: string): Requirement {
  const unsupported = UNSUPPORTED_FIELDS.find((field) => Object.hasOwn(object, field));
  if (unsupported !== undefined) {
    return { type: 'unsupported', what: `field ${JSON.stringify(unsupported)} of sigstoreSigned` };
  }
  onlyKeys(object, ['type', 'signedIdentity', ...KEY_FIELDS], where);
  const given = KEY_FIELDS.filter((field) => Object.hasOwn(object, field));
  const [field, ...more] = given;
  if (field === undefined || more.length > 0) {
    throw refused(`${where} needs exactly one of ${KEY_FIELDS.join(', ')}`);
  }
  return {
    type: 'sigstoreSigned',
    keys: parseKeys(object[field], field, `${where}.${field}`),
    identity: parseIdentityRule(property(object, 'signedIdentity'), `${where}.signedIdentity`),
  };
}

function parseKeys(value: unknown, field: (typeof KEY_FIELDS)[number], where: string): KeySource[] {
  const isList = field.endsWith('s');
  const values = isList ? asStrings(value, where) : [asString(value, where)];
  if (values.length === 0) throw refused(`${where} is an empty list: name at least one key`);
  return values.map((text, index) => {
    const place = isList ? `${where}[${index}]` : where;
    if (field.startsWith('keyPath')) {
      if (text.startsWith('/')) return { path: text };
      throw refused(`${place} ${JSON.stringify(text.slice(0, 300))} is no absolute path`);
    }
    // keyData is base64 of the PEM text, as Go's []byte comes out of JSON.
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) throw refused(`${place} is not base64`);
    return { pem: Buffer.from(text, 'base64').toString('latin1'), where: place };
  });
}

function dockerScopeFault(scope: string): string | null {
  if (scope.startsWith('*.')) {
    return isRegistry(scope.slice(2)) && !scope.includes(':')
      ? null
      : 'after "*." stands the name of a domain and nothing else';
  }
  const at = scope.indexOf('@');
  const digest = at < 0 ? '' : scope.slice(at + 1);
  const named = at < 0 ? scope : scope.slice(0, at);
  const slash = named.indexOf('/');
  const colon = named.lastIndexOf(':');
  const tag = slash >= 0 && colon > slash ? named.slice(colon + 1) : '';
  const name = tag === '' ? named : named.slice(0, colon);
  const host = slash < 0 ? name : name.slice(0, slash);
  if (host === 'index.docker.io') return 'it is called docker.io here';
  const isName =
    isRegistry(host) && (slash < 0 || isRepository(name.slice(slash + 1))) && !/:$/.test(name);
  const isWhole = (tag === '' || isTag(tag)) && (at < 0 || (slash >= 0 && isDigest(digest)));
  if (isName && isWhole && (tag === '' || digest === '')) return null;
  return 'write host[:port], host/namespace, host/repository, host/repository:tag, host/repository@digest or *.domain';
}

function pathScopeFault(scope: string): string | null {
  const parts = scope.split('/').slice(1);
  const isPath =
    scope.startsWith('/') && parts.every((part) => part !== '' && part !== '.' && part !== '..');
  if (!isPath) return 'write an absolute path without "..", "//" or closing "/", or "" for all';
  return scope.includes(':')
    ? 'paths of images hold no colon; the name behind it is no scope'
    : null;
}

function refused(message: string): RuntimeError {
  return new RuntimeError('invalid-argument', message);
}
