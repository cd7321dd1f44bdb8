/** Checks the signatures of an image without pulling it. */
import { RuntimeError, wrap } from '../../core/errors.js';
import { platformsOf, type Platform } from '../../core/oci.js';
import type {
  ImageStore,
  ImageVerifier,
  RegistryAuth,
  SignatureCheck,
  VerifiedImage,
} from '../../core/ports/images.js';
import { openSibling, openSource, type OpenRegistry } from '../source/image-origin-source.js';
import { parseImageOrigin, type ReadOrigin } from '../source/image-origin.js';
import { resolveManifest } from '../pull/pull-work.js';
import { ImagePolicy } from './image-policy.js';

export interface PolicyVerifierOptions {
  images: Pick<ImageStore, 'find'>;
  openRegistry: OpenRegistry;
  readPolicy: () => Promise<ImagePolicy>;
  platforms?: readonly Platform[];
}

export class PolicyVerifier implements ImageVerifier {
  readonly #options: PolicyVerifierOptions;

  constructor(options: PolicyVerifierOptions) {
    this.#options = options;
  }

  async verify(
    reference: string,
    auth: RegistryAuth | null,
    { check, signal }: { check: SignatureCheck; signal: AbortSignal },
  ): Promise<VerifiedImage> {
    const policy = check.kind === 'host' ? await this.#options.readPolicy() : ImagePolicy.of(check);
    let failure: unknown = new RuntimeError('not-found', 'it has no name it could be found by');
    for (const name of this.#namesOf(reference)) {
      try {
        const origin = parseImageOrigin(name);
        if (origin.kind !== 'volume') return await this.#verify(origin, auth, policy, signal);
        throw new RuntimeError('unimplemented', `${name} is a template, which nobody signs`);
      } catch (error) {
        if (signal.aborted) throw error;
        failure = error;
      }
    }
    throw wrap(failure, `cannot verify ${reference}`);
  }

  /** An id, or a part of one, says what is here: the image may have come under more than one name. */
  #namesOf(reference: string): readonly string[] {
    const image = this.#options.images.find(reference);
    const hex = reference.replace(/^sha256:/, '');
    const isId = image !== undefined && /^[0-9a-f]{8,64}$/.test(hex) && image.id.includes(hex);
    return isId ? image.repoDigests : [reference];
  }

  async #verify(
    origin: ReadOrigin,
    auth: RegistryAuth | null,
    policy: ImagePolicy,
    signal: AbortSignal,
  ): Promise<VerifiedImage> {
    const { images, openRegistry, platforms = platformsOf(process.arch) } = this.#options;
    const demands = await policy.demandsOf(origin);
    const source = await openSource(openRegistry, origin, auth);
    const blobs = new Map<string, Uint8Array>();
    const { root, manifest } = await resolveManifest({ source, platforms, signal }, blobs);
    const verifications = await demands.check({
      digests: [...blobs.keys()],
      openSibling: openSibling(openRegistry, origin, auth),
      signal,
    });
    return {
      repoDigest: root.repoDigest,
      id: images.find(manifest.config.digest)?.id,
      where: demands.where,
      verifications,
    };
  }
}
