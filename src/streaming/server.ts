/**
 * The HTTP server behind exec, attach and port-forward. An RPC asks it for a URL with a one-time
 * token; who comes with that token upgrades the connection to a protocol that carries streams.
 */
import { setMaxListeners } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import type { PortForward } from './port-forward.js';
import { refusalResponse, StreamRefused } from './refusal.js';
import type { RemoteCommand } from './remote-command.js';
import { checkHost } from './request-host.js';
import { TokenTable } from './tokens.js';

/** What a token stands for. */
export type StreamSubject =
  /** The kind is the first part of the URL's path. */
  | { readonly kind: 'exec' | 'attach'; readonly command: RemoteCommand }
  | { readonly kind: 'portforward'; readonly forward: PortForward };

/** A request that asked for another protocol, and may have it. */
export interface Upgrade {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  /** What came behind the request already: the first bytes of the new protocol. */
  readonly head: Buffer;
  /** Aborted when the agent stops. */
  readonly closing: AbortSignal;
  readonly limits: StreamLimits;
  readonly log: Logger;
}

export interface StreamLimits {
  /** A connection on which nothing moves in either direction is closed after so long. */
  readonly idleMs: number;
  /** How long a client may take to open the streams that it asked for. */
  readonly creationMs: number;
}

/**
 * Speaks one protocol. Throws StreamRefused before it has answered the request; when it settles the
 * socket is its own no more.
 */
export type Transport = (upgrade: Upgrade, subject: StreamSubject) => Promise<void>;

export interface StreamingOptions {
  readonly log: Logger;
  /** By the value of the request's Upgrade header, in lower case. */
  readonly transports: ReadonlyMap<string, Transport>;
  readonly limits?: StreamLimits;
  /** How long a client may take for the head of its request, from the connection on. */
  readonly requestMs?: number;
  readonly tokens?: TokenTable<StreamSubject>;
}

const LIMITS: StreamLimits = { idleMs: 4 * 3600_000, creationMs: 30_000 };
/** Connections that have not been upgraded, or refused; the oldest makes room. */
const MAX_WAITING = 1000;
const REQUEST_MS = 10_000;
const REFUSAL_MS = 5000;
/** How long streams may take to say goodbye when the agent stops. */
const CLOSE_MS = 2000;

export class StreamingServer {
  readonly #options: Required<StreamingOptions>;
  readonly #server: Server;
  readonly #closing = new AbortController();
  readonly #waiting = new Set<Duplex>();
  readonly #streams = new Map<Duplex, Promise<void>>();
  #url = '';

  constructor(options: StreamingOptions) {
    this.#options = {
      limits: LIMITS,
      requestMs: REQUEST_MS,
      tokens: new TokenTable(),
      ...options,
    };
    // Each connection listens, and Node would take so many for a leak.
    setMaxListeners(0, this.#closing.signal);
    const { requestMs } = this.#options;
    this.#server = createServer({
      maxHeaderSize: 16 * 1024,
      headersTimeout: requestMs,
      requestTimeout: requestMs,
      connectionsCheckingInterval: requestMs / 10,
    });
    this.#server.on('connection', (socket) => {
      this.#admit(socket);
    });
    this.#server.on('request', (request, response) => {
      this.#answer(request, response);
    });
    this.#server.on('upgrade', (request, socket, head) => {
      this.#waiting.delete(socket);
      const served = this.#serve(request, socket, head);
      this.#streams.set(socket, served);
      void served.finally(() => this.#streams.delete(socket));
    });
  }

  /** `http://127.0.0.1:34567`, once it listens. */
  get url(): string {
    return this.#url;
  }

  async listen(address: string, port: number): Promise<void> {
    await listen(this.#server, address, port);
    const bound = this.#server.address() as AddressInfo;
    const host = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
    this.#url = `http://${host}:${bound.port}`;
  }

  /** A URL for one client, soon. Throws 'resource-exhausted' when too many wait to be used. */
  issue(subject: StreamSubject): string {
    return `${this.#url}/${subject.kind}/${this.#options.tokens.issue(subject)}`;
  }

  /** Ends every stream. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#closing.abort(new RuntimeError('unavailable', 'the agent stops: its streams end'));
    for (const socket of this.#waiting) socket.destroy();
    const late = setTimeout(() => {
      for (const socket of this.#streams.keys()) socket.destroy();
    }, CLOSE_MS);
    await Promise.all(this.#streams.values());
    clearTimeout(late);
    await closed;
  }

  #admit(socket: Duplex): void {
    this.#waiting.add(socket);
    socket.once('close', () => this.#waiting.delete(socket));
    const [oldest] = this.#waiting;
    if (this.#waiting.size > MAX_WAITING) oldest?.destroy();
  }

  /** A request that does not ask for an upgrade. */
  #answer(request: IncomingMessage, response: ServerResponse): void {
    request.resume();
    let refused: StreamRefused;
    try {
      checkHost(request, this.#url);
      const { token } = tokenOf(request);
      if (!this.#options.tokens.has(token)) throw unknownToken();
      refused = new StreamRefused(400, 'a stream needs a request with Connection: Upgrade');
    } catch (error) {
      if (!(error instanceof StreamRefused)) throw error;
      refused = error;
    }
    response
      .writeHead(refused.statusCode, { 'content-type': 'text/plain', connection: 'close' })
      .end(`${refused.message}\n`);
  }

  /** Never rejects. */
  async #serve(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { log, limits, transports } = this.#options;
    // 'close' follows.
    socket.on('error', () => socket.destroy());
    try {
      checkHost(request, this.#url);
      const { kind, token } = tokenOf(request);
      const protocol = (request.headers.upgrade ?? '').toLowerCase();
      const transport = transports.get(protocol);
      if (transport === undefined) {
        throw new StreamRefused(
          400,
          `upgrade to ${JSON.stringify(protocol)} is not possible: ask for one of ${[...transports.keys()].join(', ')}`,
        );
      }
      const subject = this.#options.tokens.take(token);
      if (subject?.kind !== kind) throw unknownToken();
      const closing = this.#closing.signal;
      await transport({ request, socket, head, closing, limits, log }, subject);
    } catch (error) {
      if (error instanceof StreamRefused) {
        log.debug({ status: error.statusCode, reason: error.message }, 'stream refused');
        await refuse(socket, error);
      } else {
        log.warn({ err: error }, 'stream failed');
      }
    } finally {
      socket.destroy();
    }
  }
}

/** Throws for a path that no token could have. */
function tokenOf({ method, url = '' }: IncomingMessage): { kind: string; token: string } {
  const [, kind, token] = /^\/(exec|attach|portforward)\/([\w-]+)(?:\?.*)?$/.exec(url) ?? [];
  if (kind === undefined || token === undefined) throw unknownToken();
  if (method !== 'GET' && method !== 'POST') {
    throw new StreamRefused(405, 'a stream is asked for with GET or POST', { allow: 'GET, POST' });
  }
  return { kind, token };
}

function unknownToken(): StreamRefused {
  return new StreamRefused(404, 'unknown stream: its URL was used before, is too old or never was');
}

async function refuse(socket: Duplex, refused: StreamRefused): Promise<void> {
  if (socket.destroyed) return;
  const late = setTimeout(() => socket.destroy(), REFUSAL_MS);
  // What is left unread would make the kernel reset the connection, and the answer be lost.
  socket.resume();
  await new Promise((resolve) => {
    socket.once('close', resolve);
    socket.end(refusalResponse(refused));
  });
  clearTimeout(late);
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      // Stays: accept(2) fails while descriptors are scarce, and must not end the agent.
      server.on('error', reject);
      server.listen({ host, port, exclusive: true }, resolve);
    });
  } catch (error) {
    if (hasCode(error, 'EADDRINUSE')) {
      throw new RuntimeError(
        'failed-precondition',
        `streaming.port ${port} on ${host} is in use: choose another or 0 for any free one`,
        error,
      );
    }
    throw wrap(error, `cannot listen for streams on ${host}:${port}`);
  }
}
