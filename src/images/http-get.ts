/** GET requests with redirects followed by our own rules, and bodies of bounded size. */
import { readFileSync } from 'node:fs';
import { Agent, request, type Dispatcher } from 'undici';
import { hasCode, RuntimeError } from '../core/errors.js';
import { parseUrl } from '../util/parse-url.js';
import { checkHost, guardedLookup, isLoopbackHost } from './address-guard.js';
import { TransientError } from './retry.js';

export type Response = Dispatcher.ResponseData;

export interface GetOptions {
  method?: 'GET' | 'POST';
  body?: string;
  headers: Readonly<Record<string, string>>;
  /** Headers for the first server alone: credentials, and what an operator has set for it. */
  ownHeaders: Readonly<Record<string, string>>;
  signal: AbortSignal;
}

export interface Answer {
  response: Response;
  /** True when another server than the one that was asked gave the answer. */
  wasRedirected: boolean;
}

const MOST_REDIRECTS = 5;
const REDIRECTS = [301, 302, 303, 307, 308];
const CONNECT_MS = 10_000;
const ANSWER_MS = 30_000;
const SILENCE_MS = 60_000;
/** Debian's ca-certificates; Node on its own trusts a list that was compiled into it. */
const SYSTEM_CA = '/etc/ssl/certs/ca-certificates.crt';

/** Connections to one server, and to where it sends us. */
export class HttpClient {
  readonly #own: Agent;
  readonly #followed: Agent;
  readonly #isLocal: boolean;

  constructor(base: string, tls: { ca: readonly string[]; skipVerify: boolean }) {
    this.#isLocal = isLoopbackHost(new URL(base).hostname);
    this.#own = makeAgent(tls, false);
    this.#followed = this.#isLocal ? this.#own : makeAgent(tls, true);
  }

  /** Any status but a redirect's is an answer; the caller reads or destroys its body. */
  async send(start: URL, options: GetOptions): Promise<Answer> {
    let url = start;
    let isOwn = true;
    for (let hops = 0; hops <= MOST_REDIRECTS; hops += 1) {
      checkHost(url.hostname, !isOwn && !this.#isLocal);
      const response = await this.#request(url, isOwn, options);
      if (!REDIRECTS.includes(response.statusCode)) return { response, wasRedirected: !isOwn };
      await discard(response);
      url = redirectTarget(url, response.headers['location']);
      // Once away, never back with credentials: the detour decides where we end up.
      isOwn &&= url.origin === start.origin;
    }
    throw new RuntimeError(
      'registry-unavailable',
      `${start.host} redirects more than ${MOST_REDIRECTS} times`,
    );
  }

  /** To what a registry's challenge names: never with a redirect. */
  async sendFollowed(url: URL, options: GetOptions): Promise<Response> {
    checkHost(url.hostname, !this.#isLocal);
    return this.#request(url, false, {
      ...options,
      headers: { ...options.headers, ...options.ownHeaders },
    });
  }

  async #request(url: URL, isOwn: boolean, options: GetOptions): Promise<Response> {
    try {
      return await request(url, {
        method: options.method ?? 'GET',
        dispatcher: isOwn ? this.#own : this.#followed,
        headers: {
          'user-agent': 'pvecri',
          'accept-encoding': 'identity',
          ...options.headers,
          ...(isOwn ? options.ownHeaders : {}),
        },
        body: options.body ?? null,
        signal: options.signal,
      });
    } catch (error) {
      throw connectionError(error, url, options.signal);
    }
  }
}

function makeAgent(
  tls: { ca: readonly string[]; skipVerify: boolean },
  isFollowed: boolean,
): Agent {
  const ca = [...systemCa(), ...tls.ca];
  return new Agent({
    headersTimeout: ANSWER_MS,
    bodyTimeout: SILENCE_MS,
    connect: {
      timeout: CONNECT_MS,
      lookup: guardedLookup(isFollowed),
      rejectUnauthorized: !tls.skipVerify,
      ...(ca.length > 0 ? { ca } : {}),
    },
  });
}

function systemCa(): string[] {
  try {
    return [readFileSync(SYSTEM_CA, 'utf8')];
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

function redirectTarget(from: URL, location: string | string[] | undefined): URL {
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

function connectionError(error: unknown, url: URL, signal: AbortSignal): unknown {
  if (signal.aborted || error instanceof RuntimeError) return error;
  const reason = error instanceof Error ? error.message || error.name : String(error);
  const message = `${url.host} cannot be reached: ${reason}`;
  // A certificate does not become valid by asking again.
  if (hasCode(error, 'ERR_TLS_CERT_ALTNAME_INVALID') || /certificate/i.test(reason)) {
    return new RuntimeError(
      'registry-unavailable',
      `${message} (hosts.toml can name its ca)`,
      error,
    );
  }
  return new TransientError(message, error);
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
