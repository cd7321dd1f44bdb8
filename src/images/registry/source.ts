/** An image of a registry, by the OCI distribution protocol. */
import { createHash } from 'node:crypto';
import { RuntimeError, type ErrorKind } from '../../core/errors.js';
import { formatImageReference, imageName } from '../../core/image-reference.js';
import type { ImageReference } from '../../core/image-reference.js';
import type { Descriptor } from '../../core/oci.js';
import { INDEX_TYPES, MANIFEST_TYPES, MAX_MANIFEST_BYTES } from '../../core/oci.js';
import { parseReferrers } from '../../core/referrers.js';
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

const REFERRERS_TYPE = 'application/vnd.oci.image.index.v1+json';
const MOST_REFERRER_PAGES = 10;

interface ReferrersPage {
  listed: Descriptor[];
  nextQuery: string | undefined;
}

/** What registries without the referrers API answer to its path: 400, 404, 405 or 406. */
const KINDS_WITHOUT_API: readonly ErrorKind[] = [
  'invalid-argument',
  'not-found',
  'unimplemented',
  'unknown',
];

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

  async referrers(digest: string, signal: AbortSignal): Promise<Descriptor[] | undefined> {
    const found: Descriptor[] = [];
    let query: string | undefined = '';
    for (let page = 1; page <= MOST_REFERRER_PAGES && query !== undefined; page += 1) {
      const answer = await this.#referrersPage(digest, query, signal);
      found.push(...(answer?.listed ?? []));
      query = answer?.nextQuery;
    }
    return found.length > 0 ? found : undefined;
  }

  async #referrersPage(
    digest: string,
    query: string,
    signal: AbortSignal,
  ): Promise<ReferrersPage | undefined> {
    const what = `list of referrers of ${imageName(this.#reference)}@${digest}`;
    const get = {
      path: `referrers/${digest}${query}`,
      what,
      capability: 'resolve',
      headers: { accept: REFERRERS_TYPE },
      signal,
    } as const;
    try {
      return await this.#client.get(get, (response) => readReferrers(response, what));
    } catch (error) {
      const isWithout = error instanceof RuntimeError && KINDS_WITHOUT_API.includes(error.kind);
      if (isWithout) return undefined;
      throw error;
    }
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

async function readReferrers(response: Response, what: string): Promise<ReferrersPage> {
  let listed: Descriptor[];
  try {
    listed = parseReferrers(await readBody(response, what, MAX_MANIFEST_BYTES), what);
  } catch (error) {
    // An answer that is malformed must not pass for one of a registry without the API.
    const isMalformed = error instanceof RuntimeError && error.kind === 'invalid-argument';
    throw isMalformed ? new RuntimeError('data-loss', error.message, error) : error;
  }
  // A mirror that keeps no such lists may say so by an empty one: the next server is asked.
  if (listed.length === 0) throw new RuntimeError('not-found', `${what} is empty`);
  return { listed, nextQuery: nextQuery(headerOf(response, 'link')) };
}

/** That of the next page (RFC 8288): its path is the one that was asked, whatever the link says. */
function nextQuery(link: string): string | undefined {
  return /<[^>?]*(\?[^>]*)>\s*;[^,]*\brel="?next"?/.exec(link)?.[1];
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
