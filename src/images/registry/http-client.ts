/** HTTP to one server and to where it sends us: redirects by our own rules, bodies of bounded size. */
import type { Readable } from 'node:stream';
import type { SecureContext } from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { Agent, ProxyAgent, request, type Dispatcher } from 'undici';
import { RuntimeError } from '../../core/errors.js';
import { parseUrl } from '../../util/parse-url.js';
import { checkHost, guardedLookup, isLoopbackHost } from './address-guard.js';
import { connectionError } from './connection-error.js';
import { proxyFor, readProxySettings, type ProxySettings } from './proxy-settings.js';
import { TransientError } from '../source/retry.js';
import { secureContextFor, type ClientCertificate } from './tls-context.js';

export type Response = Dispatcher.ResponseData;

export interface RequestOptions {
  method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH';
  /** A function makes a stream anew for each request that is sent. */
  body?: string | Uint8Array | (() => Readable);
  headers: Readonly<Record<string, string>>;
  /** Headers for the first server alone: credentials, and what an operator has set for it. */
  ownHeaders: Readonly<Record<string, string>>;
  signal: AbortSignal;
  /** How long to wait for an answer once the request is sent. */
  answerMs?: number;
}

export interface Answer {
  response: Response;
  /** True when another server than the one that was asked gave the answer. */
  wasRedirected: boolean;
}

export interface TlsOptions {
  /** PEM texts, besides the system's. */
  ca: readonly string[];
  clientCertificates: readonly ClientCertificate[];
  skipVerify: boolean;
  /** Until a connection stands; undefined for the default. */
  dialTimeoutMs?: number | undefined;
}

const MOST_REDIRECTS = 5;
const REDIRECTS = [301, 302, 303, 307, 308];
const CONNECT_MS = 10_000;
const ANSWER_MS = 30_000;
const SILENCE_MS = 60_000;

// undici's parser is WebAssembly. Optimizing it takes V8 45 MB once, and gains nothing here: it reads
// headers alone. Its first compiler's code does.
setFlagsFromString('--no-wasm-tier-up');
setFlagsFromString('--no-wasm-dynamic-tiering');

export class HttpClient {
  readonly #origin: string;
  readonly #tls: TlsOptions;
  readonly #isLocal: boolean;
  readonly #proxies: ProxySettings;
  readonly #dispatchers = new Map<string, Dispatcher>();

  constructor(base: string, tls: TlsOptions, proxies = readProxySettings(process.env)) {
    const { origin, hostname } = new URL(base);
    this.#origin = origin;
    this.#tls = tls;
    this.#isLocal = isLoopbackHost(hostname);
    this.#proxies = proxies;
  }

  /** Any status but a redirect's is an answer; the caller reads or destroys its body. */
  async send(start: URL, options: RequestOptions): Promise<Answer> {
    let url = start;
    let isOwn = url.origin === this.#origin;
    for (let hops = 0; hops <= MOST_REDIRECTS; hops += 1) {
      const response = await this.#request(url, isOwn, options);
      // What a redirect does to a request with a body is no two clients' same idea: it is an answer.
      const isRead = options.method === undefined || ['GET', 'HEAD'].includes(options.method);
      if (!isRead || !REDIRECTS.includes(response.statusCode)) {
        return { response, wasRedirected: url.origin !== start.origin };
      }
      await discard(response);
      url = redirectTarget(url, response.headers['location']);
      // Once away, never back with credentials: the detour decides where we end up.
      isOwn &&= url.origin === this.#origin;
    }
    throw new RuntimeError(
      'registry-unavailable',
      `${start.host} redirects more than ${MOST_REDIRECTS} times`,
    );
  }

  /** To what a registry's challenge names, with `ownHeaders`, and never with a redirect. */
  async sendToRealm(url: URL, options: RequestOptions): Promise<Response> {
    return this.#request(url, url.origin === this.#origin, {
      ...options,
      headers: { ...options.headers, ...options.ownHeaders },
      ownHeaders: {},
    });
  }

  async #request(url: URL, isOwn: boolean, options: RequestOptions): Promise<Response> {
    const { body, answerMs } = options;
    checkHost(url.hostname, !isOwn && !this.#isLocal);
    const proxy = proxyFor(url, this.#proxies);
    try {
      return await request(url, {
        method: options.method ?? 'GET',
        dispatcher: this.#dispatcher(isOwn, url, proxy),
        headers: {
          'user-agent': 'pvecri',
          'accept-encoding': 'identity',
          ...options.headers,
          ...(isOwn ? options.ownHeaders : {}),
        },
        body: typeof body === 'function' ? body() : (body ?? null),
        signal: options.signal,
        ...(answerMs === undefined ? {} : { headersTimeout: answerMs }),
      });
    } catch (error) {
      throw connectionError(error, url, proxy, options.signal);
    }
  }

  #dispatcher(isOwn: boolean, url: URL, proxy: URL | undefined): Dispatcher {
    const key = `${isOwn} ${url.protocol} ${proxy?.href ?? ''}`;
    const known = this.#dispatchers.get(key);
    if (known) return known;
    const made =
      proxy === undefined ? this.#makeAgent(isOwn, url) : this.#makeProxyAgent(isOwn, url, proxy);
    this.#dispatchers.set(key, made);
    return made;
  }

  #makeAgent(isOwn: boolean, url: URL): Dispatcher {
    return new Agent({
      headersTimeout: ANSWER_MS,
      bodyTimeout: SILENCE_MS,
      connect: { ...this.#connect(isOwn, url), lookup: guardedLookup(!isOwn && !this.#isLocal) },
    });
  }

  /** As Go's clients: https through a tunnel, http by asking the proxy for the whole URL. */
  #makeProxyAgent(isOwn: boolean, url: URL, proxy: URL): Dispatcher {
    const { username, password } = proxy;
    const secret = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    const token = `Basic ${Buffer.from(secret).toString('base64')}`;
    return new ProxyAgent({
      uri: proxy.origin,
      ...(username === '' && password === '' ? {} : { token }),
      proxyTunnel: url.protocol === 'https:',
      headersTimeout: ANSWER_MS,
      bodyTimeout: SILENCE_MS,
      requestTls: this.#connect(isOwn, url),
      // The proxy is the operator's word: its certificate must be one that the system trusts.
      proxyTls: { timeout: CONNECT_MS, ...secure(proxy, [], []) },
    });
  }

  #connect(isOwn: boolean, url: URL): ConnectOptions {
    return {
      highWaterMark: undefined,
      readableHighWaterMark: 1,
      timeout: this.#tls.dialTimeoutMs ?? CONNECT_MS,
      rejectUnauthorized: !this.#tls.skipVerify,
      ...secure(url, this.#tls.ca, isOwn ? this.#tls.clientCertificates : []),
    };
  }
}

interface ConnectOptions {
  /** undici's own would go first. */
  highWaterMark: undefined;
  /** Each read of the socket is passed on by itself: what piles up would be copied together. */
  readableHighWaterMark: number;
  timeout: number;
  rejectUnauthorized: boolean;
  secureContext?: SecureContext;
}

function secure(
  url: URL,
  ca: readonly string[],
  pairs: readonly ClientCertificate[],
): { secureContext?: SecureContext } {
  return url.protocol === 'https:' ? { secureContext: secureContextFor(ca, pairs) } : {};
}

/** Where a Location header of `from`'s answer points, when that is a place to go to. */
export function redirectTarget(from: URL, location: string | string[] | undefined): URL {
  const target = typeof location === 'string' ? parseUrl(location, from.href) : undefined;
  const refused = (why: string): RuntimeError =>
    new RuntimeError('permission-denied', `${from.host} redirects ${why}, which is not followed`);
  if (!target) throw refused('to no URL');
  if (!/^https?:$/.test(target.protocol)) throw refused(`to ${target.protocol}`);
  if (target.username !== '' || target.password !== '')
    throw refused('with credentials in the URL');
  if (from.protocol === 'https:' && target.protocol === 'http:')
    throw refused('from https to http');
  return target;
}

/** One value of an answer's header, '' when it is not there. */
export function headerOf(response: Response, name: string): string {
  const value = response.headers[name];
  return Array.isArray(value) ? value.join(', ') : (value ?? '');
}

/** Reads and forgets a body, so that the connection can be used again; a long one is cut. */
export async function discard(response: Response): Promise<void> {
  await response.body.dump({ limit: 64 * 1024 });
}

export async function readBody(
  response: Response,
  what: string,
  maxBytes: number,
): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxBytes) {
        throw new RuntimeError('invalid-argument', `${what} is larger than ${maxBytes} bytes`);
      }
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof RuntimeError) throw error;
    throw new TransientError(`the connection ended within ${what}`, error);
  }
  return Buffer.concat(chunks);
}
