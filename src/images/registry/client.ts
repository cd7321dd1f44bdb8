/** Requests about one repository to the servers that may have its images, in order, with what they want to see. */
import type { Readable } from 'node:stream';
import { RuntimeError } from '../../core/errors.js';
import type { RegistryAuth } from '../../core/ports/images.js';
import { discard, headerOf, HttpClient, type Response } from './http-client.js';
import { credentialsFor, RegistryAuthorizer } from './auth.js';
import { answeredError, asUnavailable } from './errors.js';
import type { Capability, RegistryHost } from './hosts.js';
import { TransientError, withRetries } from '../source/retry.js';
import type { TokenCache } from './token-cache.js';

export interface Repository {
  registry: string;
  repository: string;
}

export interface RegistryAccess {
  repository: Repository;
  hosts: readonly RegistryHost[];
  auth: RegistryAuth | null;
  tokens: TokenCache;
  /** What is going to be done, e.g. `pull,push`. */
  actions: string;
  /** Further repositories of the same registry that are read. */
  alsoRead?: readonly string[];
}

export interface RegistryRequest {
  method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH';
  headers?: Readonly<Record<string, string>>;
  body?: string | Uint8Array | (() => Readable);
  signal: AbortSignal;
  answerMs?: number;
}

export interface Get {
  /** `manifests/<tag or digest>` or `blobs/<digest>` */
  path: string;
  /** For messages. */
  what: string;
  capability: Capability;
  headers: Readonly<Record<string, string>>;
  signal: AbortSignal;
}

/** One server. Answers are answers, whatever their status. */
export class RegistryServer {
  readonly host: RegistryHost;
  readonly #repository: Repository;
  readonly #client: HttpClient;
  readonly #authorizer: RegistryAuthorizer;

  constructor(host: RegistryHost, access: RegistryAccess) {
    const { repository, auth, tokens, actions, alsoRead = [] } = access;
    this.host = host;
    this.#repository = repository;
    this.#client = new HttpClient(host.base, host);
    this.#authorizer = new RegistryAuthorizer({
      client: this.#client,
      base: host.base,
      credentials: credentialsFor(auth, host),
      scopes: [
        `repository:${repository.repository}:${actions}`,
        ...alsoRead.map((name) => `repository:${name}:pull`),
      ],
      tokens,
    });
  }

  /** For messages. */
  get name(): string {
    return new URL(this.host.base).host;
  }

  /** `path` is below the repository. */
  url(path: string): URL {
    const { registry, repository } = this.#repository;
    const url = new URL(`${this.host.base}/${repository}/${path}`);
    if (this.host.isMirror) url.searchParams.set('ns', registry);
    return url;
  }

  async send(url: URL, request: RegistryRequest): Promise<Response> {
    for (let isSecond = false; ; isSecond = true) {
      const authorization = this.#authorizer.headers();
      const { response, wasRedirected } = await this.#client.send(url, {
        ...request,
        headers: request.headers ?? {},
        ownHeaders: { ...this.host.headers, ...authorization },
      });
      // A challenge counts from the server itself alone, and once for each request.
      const isOwn = !wasRedirected && url.origin === new URL(this.host.base).origin;
      if (response.statusCode !== 401 || !isOwn || isSecond) return response;
      await discard(response);
      const challenge = headerOf(response, 'www-authenticate');
      await this.#authorizer.answer(challenge, authorization, request.signal);
    }
  }
}

export class RegistryClient {
  readonly #repository: Repository;
  readonly #servers: readonly RegistryServer[];

  constructor(access: RegistryAccess) {
    this.#repository = access.repository;
    this.#servers = access.hosts.map((host) => new RegistryServer(host, access));
  }

  /** Retries as a whole, so that a mirror that is down costs no time before the next server is asked. */
  async get<T>(get: Get, read: (response: Response) => Promise<T>): Promise<T> {
    try {
      return await withRetries(() => this.tryServers(get, read), get.signal);
    } catch (error) {
      throw asUnavailable(error);
    }
  }

  /** Server after server until one gives the thing; the last one's failure is the one that counts. */
  async tryServers<T>(get: Get, read: (response: Response) => Promise<T>): Promise<T> {
    const failures: unknown[] = [];
    for (const server of this.#able(get.capability)) {
      try {
        return await read(await ask(server, get));
      } catch (error) {
        if (get.signal.aborted) throw error;
        failures.push(error);
      }
    }
    throw summary(failures);
  }

  /** The one that takes what is pushed. */
  serverForPush(): RegistryServer {
    const [first] = this.#able('push');
    if (first) return first;
    throw this.#nobody('push');
  }

  #able(capability: Capability): RegistryServer[] {
    const able = this.#servers.filter(({ host }) => host.capabilities.has(capability));
    if (able.length === 0) throw this.#nobody(capability);
    return able;
  }

  #nobody(capability: Capability): RuntimeError {
    return new RuntimeError(
      'failed-precondition',
      `hosts.toml leaves no server that may ${capability} images of ${this.#repository.registry}`,
    );
  }
}

/** An answer with the thing itself. */
async function ask(server: RegistryServer, get: Get): Promise<Response> {
  const url = server.url(get.path);
  const response = await server.send(url, { headers: get.headers, signal: get.signal });
  if (response.statusCode === 200 || response.statusCode === 206) return response;
  throw await answeredError(response, url.host, get.what);
}

/** The last failure, with what mirrors have said before it: an operator wants to know of them. */
function summary(failures: readonly unknown[]): unknown {
  const last = failures.at(-1);
  if (failures.length < 2 || !(last instanceof Error)) return last;
  const before = failures
    .slice(0, -1)
    .map((error) => (error instanceof Error ? error.message : ''));
  const message = `${last.message} (before that: ${before.join('; ').slice(0, 1000)})`;
  if (last instanceof TransientError) return new TransientError(message, last, last.waitMs);
  if (last instanceof RuntimeError) return new RuntimeError(last.kind, message, last);
  return last;
}
