/** An image of a registry, by the OCI distribution protocol. */
import { createHash } from 'node:crypto';
import { RuntimeError } from '../core/errors.js';
import type { ErrorKind } from '../core/errors.js';
import { formatImageReference, imageName } from '../core/image-reference.js';
import type { ImageReference } from '../core/image-reference.js';
import { asArray, asObject, asString, optional, property } from '../core/json-shape.js';
import type { Descriptor } from '../core/oci.js';
import { INDEX_TYPES, MANIFEST_TYPES, MAX_MANIFEST_BYTES } from '../core/oci.js';
import type { RegistryAuth } from '../core/ports.js';
import { parseStrictJson } from '../core/strict-json.js';
import { downloadBlob, type BlobPart } from './blob-download.js';
import { discard, HttpClient, readBody, type Response } from './http-get.js';
import type { OpenRegistry } from './image-origin-source.js';
import type { ImageSource, LayerRequest, RootDocument } from './image-source.js';
import { credentialsFor, RegistryAuthorizer } from './registry-auth.js';
import { readRegistryHosts, type Capability, type RegistryHost } from './registry-hosts.js';
import { TransientError, withRetries } from './retry.js';

/** `hostsDir` is asked anew for each pull, as are the files in it. */
export function createRegistryOpener(hostsDir: () => string): OpenRegistry {
  return async ({ reference }, auth) => {
    const hosts = await readRegistryHosts(reference.registry, hostsDir());
    return new RegistrySource(reference, hosts, auth);
  };
}

interface Server {
  host: RegistryHost;
  client: HttpClient;
  authorizer: RegistryAuthorizer;
}

interface Get {
  /** `manifests/<tag or digest>` or `blobs/<digest>` */
  path: string;
  /** For messages. */
  what: string;
  capability: Capability;
  headers: Readonly<Record<string, string>>;
  signal: AbortSignal;
}

const ACCEPT = [...INDEX_TYPES, ...MANIFEST_TYPES].join(', ');
const MAX_ERROR_BYTES = 64 * 1024;

export class RegistrySource implements ImageSource {
  readonly #reference: ImageReference;
  readonly #servers: Server[];

  constructor(
    reference: ImageReference,
    hosts: readonly RegistryHost[],
    auth: RegistryAuth | null,
  ) {
    this.#reference = reference;
    this.#servers = hosts.map((host) => {
      const client = new HttpClient(host.base, host);
      const credentials = credentialsFor(auth, host);
      return { host, client, authorizer: new RegistryAuthorizer(client, host.base, credentials) };
    });
  }

  async resolve(signal: AbortSignal): Promise<RootDocument> {
    const reference = this.#reference;
    const name = formatImageReference(reference);
    const isTag = reference.digest === '';
    const what = `manifest of ${name}`;
    return this.#get(
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
        checkDigest(digest, header(response, 'docker-content-digest'), what);
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
    const what = `${isManifest ? 'manifest' : 'blob'} ${digest}`;
    return this.#get(
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
      throw unavailable(error);
    }
  }

  async #fetchBlob({ digest }: Descriptor, offset: number, signal: AbortSignal): Promise<BlobPart> {
    const get: Get = {
      path: `blobs/${digest}`,
      what: `blob ${digest}`,
      capability: 'pull',
      headers: offset > 0 ? { range: `bytes=${offset}-` } : {},
      signal,
    };
    return this.#tryServers(get, (response) => {
      const start = /^bytes (\d+)-/.exec(header(response, 'content-range'))?.[1];
      const isPart = response.statusCode === 206 && start !== undefined;
      return Promise.resolve({ offset: isPart ? Number(start) : 0, body: response.body });
    });
  }

  /** Retries as a whole, so that a mirror that is down costs no time before the next server is asked. */
  async #get<T>(get: Get, read: (response: Response) => Promise<T>): Promise<T> {
    try {
      return await withRetries(() => this.#tryServers(get, read), get.signal);
    } catch (error) {
      throw unavailable(error);
    }
  }

  /** Server after server until one gives the thing; the last one's failure is the one that counts. */
  async #tryServers<T>(get: Get, read: (response: Response) => Promise<T>): Promise<T> {
    let failure: unknown = new RuntimeError(
      'failed-precondition',
      `hosts.toml leaves no server that may ${get.capability} images of ${this.#reference.registry}`,
    );
    for (const server of this.#servers) {
      if (!server.host.capabilities.has(get.capability)) continue;
      try {
        return await read(await this.#ask(server, get));
      } catch (error) {
        if (get.signal.aborted) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  /** An answer with the thing itself. */
  async #ask(server: Server, get: Get): Promise<Response> {
    const { host, client, authorizer } = server;
    const url = new URL(`${host.base}/${this.#reference.repository}/${get.path}`);
    if (host.isMirror) url.searchParams.set('ns', this.#reference.registry);
    for (let isSecond = false; ; isSecond = true) {
      const { response, wasRedirected } = await client.send(url, {
        headers: get.headers,
        ownHeaders: { ...host.headers, ...authorizer.headers() },
        signal: get.signal,
      });
      const { statusCode } = response;
      if (statusCode === 200 || statusCode === 206) return response;
      // A challenge counts from the server itself alone, and once for each request.
      if (statusCode !== 401 || wasRedirected || isSecond) {
        throw await answeredError(response, url.host, get.what);
      }
      await discard(response);
      const challenge = header(response, 'www-authenticate');
      await authorizer.answer(challenge, this.#reference.repository, get.signal);
    }
  }
}

function checkDigest(actual: string, expected: string, what: string): void {
  if (expected === '' || expected === actual || !expected.startsWith('sha256:')) return;
  throw new RuntimeError('data-loss', `${what} came with digest ${actual} instead of ${expected}`);
}

function header(response: Response, name: string): string {
  const value = response.headers[name];
  return Array.isArray(value) ? value.join(', ') : (value ?? '');
}

/** '' for the types that a plain file server gives to everything. */
function mediaTypeOf(response: Response): string {
  const type = (header(response, 'content-type').split(';')[0] ?? '').trim().toLowerCase();
  const isGeneric = ['application/json', 'application/octet-stream', 'text/plain'].includes(type);
  return isGeneric ? '' : type;
}

async function answeredError(response: Response, host: string, what: string): Promise<Error> {
  const { statusCode } = response;
  const detail = await readErrorDetail(response);
  const message = `${host} answered ${statusCode} for ${what}${detail}`;
  if (statusCode >= 500 || statusCode === 429 || statusCode === 408) {
    const seconds = Number(header(response, 'retry-after'));
    return new TransientError(message, undefined, Number.isFinite(seconds) ? seconds * 1000 : 0);
  }
  return new RuntimeError(ANSWERS[statusCode] ?? 'unknown', message);
}

const ANSWERS: Readonly<Record<number, ErrorKind>> = {
  401: 'unauthenticated',
  403: 'permission-denied',
  404: 'not-found',
};

/** The first error of the registry's own format, nothing of any other answer: it may be from anywhere. */
async function readErrorDetail(response: Response): Promise<string> {
  try {
    const bytes = await readBody(response, 'error', MAX_ERROR_BYTES);
    const answer = asObject(parseStrictJson(bytes, 'error', MAX_ERROR_BYTES), 'error');
    const first = asObject(asArray(property(answer, 'errors'), 'errors')[0], 'error');
    const text = optional(first, 'message', 'error', asString, '');
    return text === '' ? '' : `: ${text.replace(/[\u0000-\u001f\u007f]/g, ' ').slice(0, 200)}`;
  } catch {
    // The status says enough.
    return '';
  }
}

function unavailable(error: unknown): unknown {
  return error instanceof TransientError
    ? new RuntimeError('registry-unavailable', error.message, error)
    : error;
}
