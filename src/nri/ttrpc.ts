/** ttrpc over one socket in both directions: the calls we make, and those we are asked to answer. */
import type { Duplex } from 'node:stream';
import { Request, Response } from './gen/ttrpc.js';
import { Mux, PLUGIN_CONNECTION, RUNTIME_CONNECTION } from './mux.js';
import {
  encodeMessage,
  MAX_DATA,
  MESSAGE_REQUEST,
  MESSAGE_RESPONSE,
  MessageReader,
  type Message,
} from './ttrpc-message.js';

/** gRPC's numbers, which ttrpc uses. */
export const CODE = {
  unknown: 2,
  invalidArgument: 3,
  resourceExhausted: 8,
  unimplemented: 12,
  unavailable: 14,
} as const;

/** The other side answered a call with an error: the call has failed, the connection is sound. */
export class StatusError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** What should be sent is longer than a message may be; nothing was sent. */
export class OversizedError extends Error {
  readonly length: number;

  constructor(length: number) {
    super(`a message of ${length} bytes is longer than ${MAX_DATA}`);
    this.length = length;
  }
}

/** No answer will come: closed, against the protocol, or too slow. The connection is of no more use. */
export class ConnectionError extends Error {}

/** Calls of the other side that may be answered at the same time. */
const MAX_SERVED = 64;
/** Stream ids are 32 bit and odd; a connection that has used them up ends. */
const MAX_STREAM = 0xffff_fffd;

export type Serve = (service: string, method: string, payload: Buffer) => Promise<Uint8Array>;

interface PendingCall {
  resolve(payload: Buffer): void;
  reject(error: Error): void;
}

export class TtrpcPeer {
  /** Resolves once, with the reason; null for an orderly end. */
  readonly closed: Promise<Error | null>;
  readonly #mux: Mux;
  readonly #serve: Serve;
  readonly #pending = new Map<number, PendingCall>();
  #nextStream = 1;
  #lastServed = 0;
  #serving = 0;
  #isClosed = false;

  constructor(socket: Duplex, serve: Serve) {
    this.#serve = serve;
    const answers = new MessageReader((message) => {
      this.#onAnswer(message);
    });
    const requests = new MessageReader((message) => {
      this.#onRequest(message);
    });
    let onClosed: (error: Error | null) => void = () => undefined;
    this.closed = new Promise((resolve) => {
      onClosed = resolve;
    });
    this.#mux = new Mux(socket, {
      data: (id, bytes) => {
        if (id === PLUGIN_CONNECTION) answers.push(bytes);
        else if (id === RUNTIME_CONNECTION) requests.push(bytes);
      },
      closed: (error) => {
        this.#isClosed = true;
        for (const call of this.#pending.values()) {
          call.reject(new ConnectionError(error?.message ?? 'the connection was closed'));
        }
        this.#pending.clear();
        onClosed(error);
      },
    });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Rejects with StatusError, OversizedError or ConnectionError; the last one ends the connection. */
  async call(
    service: string,
    method: string,
    payload: Uint8Array,
    timeoutMs: number,
  ): Promise<Buffer> {
    if (this.#isClosed) throw new ConnectionError('the connection was closed');
    const request = Request.encode({
      service,
      method,
      payload: Buffer.from(payload),
      timeoutNano: BigInt(Math.ceil(timeoutMs)) * 1_000_000n,
    }).finish();
    if (request.length > MAX_DATA) throw new OversizedError(request.length);
    const stream = this.#nextStream;
    this.#nextStream += 2;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<Buffer>((resolve, reject) => {
        this.#pending.set(stream, { resolve, reject });
        timer = setTimeout(() => {
          this.close(new ConnectionError(`${method} was not answered within ${timeoutMs} ms`));
        }, timeoutMs);
        this.#mux.send(PLUGIN_CONNECTION, encodeMessage(stream, MESSAGE_REQUEST, request));
        if (stream >= MAX_STREAM) this.close(new ConnectionError('it has had all its calls'));
      });
    } finally {
      clearTimeout(timer);
      this.#pending.delete(stream);
    }
  }

  /** Idempotent. */
  close(error: Error | null): void {
    this.#mux.close(error);
  }

  #onAnswer({ stream, type, data }: Message): void {
    const call = this.#pending.get(stream);
    if (call === undefined) return;
    if (type !== MESSAGE_RESPONSE) {
      this.close(new ConnectionError(`a message of type ${type} came in place of an answer`));
      return;
    }
    if (data === null) {
      call.reject(new StatusError(CODE.resourceExhausted, 'its answer was too long'));
      return;
    }
    let response: Response;
    try {
      response = Response.decode(data);
    } catch {
      this.close(new ConnectionError('its answer cannot be read'));
      return;
    }
    const { status, payload } = response;
    if (status !== undefined && status.code !== 0) {
      call.reject(new StatusError(status.code, status.message));
    } else {
      call.resolve(payload);
    }
  }

  #onRequest({ stream, type, data }: Message): void {
    // Types that are not known are for versions to come.
    if (type !== MESSAGE_REQUEST) return;
    if (data === null) {
      this.#answer(stream, CODE.resourceExhausted, `a message may have ${MAX_DATA} bytes`);
    } else if (stream % 2 !== 1 || stream <= this.#lastServed) {
      this.#answer(stream, CODE.invalidArgument, 'stream ids are odd and grow');
    } else if (this.#serving >= MAX_SERVED) {
      this.#lastServed = stream;
      this.#answer(stream, CODE.resourceExhausted, `${MAX_SERVED} calls are under way`);
    } else {
      this.#lastServed = stream;
      void this.#serveOne(stream, data);
    }
  }

  async #serveOne(stream: number, data: Buffer): Promise<void> {
    this.#serving += 1;
    try {
      const { service, method, payload } = decodeRequest(data);
      const answer = await this.#serve(service, method, payload);
      this.#send(stream, { status: undefined, payload: Buffer.from(answer) });
    } catch (error) {
      const code = error instanceof StatusError ? error.code : CODE.unknown;
      this.#answer(stream, code, error instanceof Error ? error.message : String(error));
    } finally {
      this.#serving -= 1;
    }
  }

  #answer(stream: number, code: number, message: string): void {
    this.#send(stream, { status: { code, message }, payload: Buffer.alloc(0) });
  }

  #send(stream: number, response: Response): void {
    const bytes = Response.encode(response).finish();
    this.#mux.send(RUNTIME_CONNECTION, encodeMessage(stream, MESSAGE_RESPONSE, bytes));
  }
}

function decodeRequest(data: Buffer): Request {
  try {
    return Request.decode(data);
  } catch {
    throw new StatusError(CODE.invalidArgument, 'the request cannot be read');
  }
}
