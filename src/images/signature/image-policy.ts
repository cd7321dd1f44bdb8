/** Which images this host accepts: a policy file, or a key that a person asks about. */
import { realpath, stat } from 'node:fs/promises';
import { hasCode, RuntimeError, wrap } from '../../core/errors.js';
import { formatImageReference } from '../../core/image-reference.js';
import type { SignatureCheck } from '../../core/ports/images.js';
import {
  MAX_POLICY_BYTES,
  parseSignaturePolicy,
  policyOfKeys,
  requirementsFor,
  scopesOfPath,
  scopesOfReference,
  type SignaturePolicy,
} from '../../core/signature-policy.js';
import type { ReadOrigin } from '../source/image-origin.js';
import { ImageDemands, readSmallFile } from './image-demands.js';

/** A host that has no file there accepts everything; a file of another name was asked for. */
const OPTIONAL_POLICY = '/etc/pvecri/policy.json';
const ACCEPT_ANYTHING: SignaturePolicy = {
  default: [{ type: 'insecureAcceptAnything' }],
  transports: new Map(),
};

export class ImagePolicy {
  /** For messages. */
  readonly name: string;
  readonly #policy: SignaturePolicy;

  constructor(name: string, policy: SignaturePolicy) {
    this.name = name;
    this.#policy = policy;
  }

  /** Read anew for each image: a change counts from the next pull on. */
  static async read(path: string): Promise<ImagePolicy> {
    let bytes: Uint8Array;
    try {
      bytes = await readSmallFile(path, MAX_POLICY_BYTES);
    } catch (error) {
      if (path === OPTIONAL_POLICY && hasCode(error, 'ENOENT')) {
        return ImagePolicy.ofNone();
      }
      const { message } = wrap(error, `cannot read the signature policy ${path}`);
      throw new RuntimeError('signature-invalid', message, error);
    }
    return ImagePolicy.parse(bytes, path);
  }

  static ofNone(): ImagePolicy {
    return new ImagePolicy(`no policy (there is no ${OPTIONAL_POLICY})`, ACCEPT_ANYTHING);
  }

  static parse(bytes: Uint8Array, path: string): ImagePolicy {
    try {
      return new ImagePolicy(path, parseSignaturePolicy(bytes, `signature policy ${path}`));
    } catch (error) {
      if (!(error instanceof RuntimeError)) throw error;
      throw new RuntimeError('signature-invalid', error.message, error);
    }
  }

  /** What a person asks for in place of the host's policy. */
  static of(check: Exclude<SignatureCheck, { kind: 'host' }>): ImagePolicy {
    if (check.kind === 'policy') return ImagePolicy.parse(check.content, check.name);
    const pem = Buffer.from(check.content).toString('latin1');
    return new ImagePolicy(`key ${check.name}`, policyOfKeys([{ pem, where: check.name }]));
  }

  /** Throws for what is refused before anything is fetched. */
  async demandsOf(origin: ReadOrigin): Promise<ImageDemands> {
    const { transport, scopes, name } = await identify(origin);
    const { where, requirements } = requirementsFor(this.#policy, transport, scopes);
    const reference = origin.kind === 'registry' ? origin.reference : null;
    return ImageDemands.open(
      { name, reference },
      { where: `${where} of ${this.name}`, requirements },
    );
  }
}

/** A path counts by where it leads: a symbolic link must not lead around a scope. */
async function identify(
  origin: ReadOrigin,
): Promise<{ transport: string; scopes: string[]; name: string }> {
  if (origin.kind === 'registry') {
    const { reference } = origin;
    return {
      transport: 'docker',
      scopes: scopesOfReference(reference),
      name: formatImageReference(reference),
    };
  }
  const { path, isFolder } = await lookUp(origin.path);
  const isLayout = origin.kind === 'layout' || (origin.kind === 'path' && isFolder);
  return {
    transport: isLayout ? 'oci' : 'oci-archive',
    scopes: scopesOfPath(path),
    name: `${isLayout ? 'oci' : 'oci-archive'}:${origin.path}`,
  };
}

async function lookUp(given: string): Promise<{ path: string; isFolder: boolean }> {
  try {
    const path = await realpath(given);
    return { path, isFolder: (await stat(path)).isDirectory() };
  } catch (error) {
    // Whoever opens it tells that it is not there.
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return { path: given, isFolder: false };
    throw wrap(error, `cannot read image path ${given}`, 'failed-precondition');
  }
}
