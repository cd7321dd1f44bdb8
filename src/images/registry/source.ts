/** An image of a registry, by the OCI distribution protocol. */
import { createHash } from 'node:crypto';
import { RuntimeError } from '../../core/errors.js';
import { formatImageReference, imageName } from '../../core/image-reference.js';
import type { ImageReference } from '../../core/image-reference.js';
import type { Descriptor } from '../../core/oci.js';
import { INDEX_TYPES, MANIFEST_TYPES, MAX_MANIFEST_BYTES } from '../../core/oci.js';
import { downloadBlob, type BlobPart } from '../source/blob-download.js';
import { discard, headerOf, readBody, type Response } from './http-client.js';
import type { ImageSource, LayerRequest, RootDocument } from '../source/image-source.js';
import type { OpenRegistry } from '../source/image-origin-source.js';
import { RegistryClient } from './client.js';
import { asUnavailable } from './errors.js';
import { readRegistryHosts } from './hosts.js';
import { TokenCache } from './token-cache.js';

/** `hostsDir` is asked anew for each pull, as are the files in it. */
export function createRegistryOpener(
  hostsDir: () => string,
  tokens = new TokenCache(),
): OpenRegistry {
  return async ({ reference }, auth) => {
    const hosts = await readRegistryHosts(reference.registry, hostsDir());
    const access = { repository: reference, hosts, auth, tokens, actions: 'pull' };
    return new RegistrySource(reference, new RegistryClient(access));
  };
}

const ACCEPT = [...INDEX_TYPES, ...MANIFEST_TYPES].join(', ');

export class RegistrySource implements ImageSource {
  readonly #reference: ImageReference;
  readonly #client: RegistryClient;

  constructor(reference: ImageReference, client: RegistryClient) {
    this.#reference = reference;
    this.#client = client;
  }

  async resolve(signal: AbortSignal): Promise<RootDocument> {
    const reference = this.#reference;
    const name = formatImageReference(reference);
    const isTag = reference.digest === '';
    const what = `manifest of ${name}`;
    return this.#client.get(
      {
        path: `manifests/${isTag ? reference.tag : reference.digest}`,
        what,
        capability: isTag ? 'resolve' : 'pull',
        headers: { accept: ACCEPT },
        signal,
      },
      async (response) => {
        const bytes = await readBody(response, what, MAX_MANIFEST_BYTES);
        const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
        checkDigest(digest, reference.digest, what);
        checkDigest(digest, headerOf(response, 'docker-content-digest'), what);
        return {
          mediaType: mediaTypeOf(response),
          digest,
          bytes,
          repoTag: isTag ? name : '',
          repoDigest: `${imageName(reference)}@${digest}`,
        };
      },
    );
  }

  async fetchDocument(
    descriptor: Descriptor,
    maxBytes: number,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const { digest, mediaType } = descriptor;
    const isManifest = [...INDEX_TYPES, ...MANIFEST_TYPES].includes(mediaType);
    const what = `${isManifest ? 'manifest' : 'blob'} ${digest} of ${imageName(this.#reference)}`;
    return this.#client.get(
      {
        path: `${isManifest ? 'manifests' : 'blobs'}/${digest}`,
        what,
        capability: 'pull',
        headers: isManifest ? { accept: ACCEPT } : {},
        signal,
      },
      (response) => readBody(response, what, maxBytes),
    );
  }

  async fetchLayer({ descriptor, file, signal, onBytes }: LayerRequest): Promise<void> {
    try {
      await downloadBlob({
        descriptor,
        file,
        fetch: (offset) => this.#fetchBlob(descriptor, offset, signal),
        signal,
        onBytes,
      });
    } catch (error) {
      throw asUnavailable(error);
    }
  }

  async #fetchBlob(descriptor: Descriptor, offset: number, signal: AbortSignal): Promise<BlobPart> {
    const { digest, size } = descriptor;
    const what = `blob ${digest} of ${imageName(this.#reference)}`;
    const get = {
      path: `blobs/${digest}`,
      what,
      capability: 'pull',
      headers: offset > 0 ? { range: `bytes=${offset}-` } : {},
      signal,
    } as const;
    return this.#client.tryServers(get, async (response) => {
      const start = response.statusCode === 206 ? startOf(response) : 0;
      // 200 is the answer of a server that knows no ranges.
      const fault =
        response.statusCode === 206 && start !== offset
          ? `${what} came from another place than byte ${offset}`
          : lengthFault(response, size - start, what);
      if (fault === undefined) return { offset: start, body: response.body };
      await discard(response);
      throw new RuntimeError('data-loss', fault);
    });
  }
}

function startOf(response: Response): number {
  return Number(/^bytes (\d+)-/.exec(headerOf(response, 'content-range'))?.[1] ?? Number.NaN);
}

/** A length that is wrong already says so before a byte is read. */
function lengthFault(response: Response, expected: number, what: string): string | undefined {
  const length = headerOf(response, 'content-length');
  if (length === '' || Number(length) === expected) return undefined;
  return `${what} comes with ${length} bytes instead of ${expected}`;
}

function checkDigest(actual: string, expected: string, what: string): void {
  if (expected === '' || expected === actual || !expected.startsWith('sha256:')) return;
  throw new RuntimeError('data-loss', `${what} came with digest ${actual} instead of ${expected}`);
}

/** '' for the types that a plain file server gives to everything. */
function mediaTypeOf(response: Response): string {
  const type = (headerOf(response, 'content-type').split(';')[0] ?? '').trim().toLowerCase();
  const isGeneric = ['application/json', 'application/octet-stream', 'text/plain'].includes(type);
  return isGeneric ? '' : type;
}
