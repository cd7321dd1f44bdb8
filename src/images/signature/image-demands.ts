/** What a policy demands of one image, and whether the signatures found with it meet that. */
import { readFile, stat } from 'node:fs/promises';
import { RuntimeError, wrap } from '../../core/errors.js';
import type { ImageReference } from '../../core/image-reference.js';
import type { Verification } from '../../core/ports/images.js';
import type { KeySource, ScopedRequirements, SigstoreSigned } from '../../core/signature-policy.js';
import { identityFault } from '../../core/signed-identity.js';
import type { OpenSibling } from '../source/image-origin-source.js';
import type { FoundSignature } from './found-signature.js';
import { ImageSignatures } from './image-signatures.js';
import { parsePublicKey, type SigningKey } from './public-key.js';

export interface DemandingImage {
  /** As it was asked for. */
  name: string;
  /** null for one that is not of a registry. */
  reference: ImageReference | null;
}

export interface CheckedContent {
  /** What the name led to: index, if there is one, down to the manifest. A signature of any counts. */
  digests: readonly string[];
  openSibling: OpenSibling;
  signal: AbortSignal;
}

interface NamedKey extends SigningKey {
  name: string;
}

const MAX_KEY_BYTES = 64 << 10;
const MOST_REASONS = 5;

export class ImageDemands {
  readonly where: string;
  readonly #image: DemandingImage;
  readonly #requirements: ScopedRequirements['requirements'];
  readonly #keys: ReadonlyMap<SigstoreSigned, readonly NamedKey[]>;

  private constructor(
    where: string,
    image: DemandingImage,
    requirements: ScopedRequirements['requirements'],
    keys: ReadonlyMap<SigstoreSigned, readonly NamedKey[]>,
  ) {
    this.where = where;
    this.#image = image;
    this.#requirements = requirements;
    this.#keys = keys;
  }

  /** Refuses what can be refused before anything is fetched; reads the keys. */
  static async open(
    image: DemandingImage,
    { where, requirements }: ScopedRequirements,
  ): Promise<ImageDemands> {
    const keys = new Map<SigstoreSigned, readonly NamedKey[]>();
    for (const requirement of requirements) {
      switch (requirement.type) {
        case 'insecureAcceptAnything':
          break;
        case 'reject':
          throw refusal(`image ${image.name} is rejected by ${where}: allow it there to use it`);
        case 'unsupported':
          throw refusal(
            `image ${image.name} cannot be checked: ${where} has ${requirement.what}, which this agent does not know; use sigstoreSigned with a key`,
          );
        case 'sigstoreSigned':
          keys.set(requirement, await Promise.all(requirement.keys.map(readKey)));
      }
    }
    return new ImageDemands(where, image, requirements, keys);
  }

  /** True when nothing has to be fetched to know that the image is accepted. */
  get acceptsAnything(): boolean {
    return this.#requirements.every(({ type }) => type === 'insecureAcceptAnything');
  }

  /** The signature that met each requirement. */
  async check(content: CheckedContent): Promise<Verification[]> {
    const signatures = content.digests.map((digest) => ({
      digest,
      found: new ImageSignatures(digest, content.openSibling, content.signal),
    }));
    const met: Verification[] = [];
    for (const [requirement, keys] of this.#keys) {
      met.push(await this.#meet(requirement, keys, signatures));
    }
    return met;
  }

  async #meet(
    requirement: SigstoreSigned,
    keys: readonly NamedKey[],
    signatures: readonly { digest: string; found: ImageSignatures }[],
  ): Promise<Verification> {
    const reasons: string[] = [];
    for (const { digest, found } of signatures) {
      for await (const signature of found.read()) {
        if ('fault' in signature) {
          reasons.push(signature.fault);
          continue;
        }
        const met = this.#verify(signature, requirement, keys, digest);
        if (typeof met === 'object') return met;
        reasons.push(`${signature.name} does not count: ${met}`);
      }
    }
    const more = reasons.length - MOST_REASONS;
    const listed = reasons.slice(0, MOST_REASONS).join('; ');
    throw refusal(
      `image ${this.#image.name} (${signatures[0]?.digest ?? ''}) is not signed as ${this.where} demands: ${listed}${more > 0 ? `; and ${more} more` : ''}; sign it with cosign sign --key, or change the policy`,
    );
  }

  /** Or why it does not count. Nothing of what was signed is read before the signature holds. */
  #verify(
    { signed, signature, readClaim }: FoundSignature,
    { identity }: SigstoreSigned,
    keys: readonly NamedKey[],
    digest: string,
  ): Verification | string {
    const key = keys.find((candidate) => candidate.hasSigned(signed, signature));
    if (!key) return `it was made by no key of ${keys.map(({ name }) => name).join(', ')}`;
    try {
      const claim = readClaim();
      if (claim.digest !== digest) return `it is for ${claim.digest}`;
      const fault = identityFault(identity, claim.reference, this.#image.reference);
      if (fault !== null) return fault;
      const { name, fingerprint } = key;
      return { key: name, fingerprint, digest, identity: claim.reference ?? '' };
    } catch (error) {
      if (error instanceof RuntimeError) return error.message;
      throw error;
    }
  }
}

async function readKey(source: KeySource): Promise<NamedKey> {
  const name = 'path' in source ? source.path : source.where;
  try {
    const pem = 'path' in source ? await readSmallFile(source.path, MAX_KEY_BYTES) : source.pem;
    return { name, ...parsePublicKey(pem.toString(), `key ${name}`) };
  } catch (error) {
    if (error instanceof RuntimeError) throw new RuntimeError(REFUSED, error.message, error);
    throw new RuntimeError(REFUSED, wrap(error, `cannot read key ${name}`).message, error);
  }
}

/** A regular file that is not larger than it may be. */
export async function readSmallFile(path: string, maxBytes: number): Promise<Buffer> {
  const found = await stat(path);
  if (!found.isFile()) throw refusal(`${path} is no regular file`);
  if (found.size > maxBytes) throw refusal(`${path} is larger than ${maxBytes} bytes`);
  return readFile(path);
}

const REFUSED = 'signature-invalid';

function refusal(message: string): RuntimeError {
  return new RuntimeError(REFUSED, message);
}
