/**
 * A SPDY connection, the server's side of it. Neither direction is read faster than it is taken; as
 * the clients know no windows, a stream that nobody reads stops those beside it in the end.
 */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { RuntimeError } from '../../core/errors.js';
import {
  FrameParser,
  GOAWAY_OK,
  GOAWAY_PROTOCOL_ERROR,
  goaway,
  malformed,
  ping,
  REFUSED_STREAM,
  rstStream,
  synReply,
  type Frame,
} from './frames.js';
import { HeaderReader, replyBlock } from './header-block.js';
import { SpdyStream } from './stream.js';

export interface SpdyOptions {
  /** A connection on which nothing moves in either direction is closed after so long. */
  readonly idleMs: number;
  /** Aborted when the agent stops. */
  readonly closing: AbortSignal;
  /** Open at the same time; what is beyond is refused. */
  readonly maxStreams: number;
  /** A stream that the client opens; false refuses it. */
  readonly onStream: (stream: SpdyStream) => boolean;
}

/** What pings may make us keep for a client that does not read. */
const MAX_REPLY_BYTES = 256 * 1024;
/** How long a client may take to leave once it was told to. */
const LINGER_MS = 5000;

export class SpdyConnection {
  readonly #socket: Duplex;
  readonly #options: SpdyOptions;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #headers = new HeaderReader();
  readonly #gone = new AbortController();
  readonly #idle: NodeJS.Timeout;
  readonly #reading: Promise<void>;
  #lastId = 0;
  #replied = false;
  #closing = false;
  /** Goodbye, already. */
  #said = false;

  /** `socket` is the connection's from now on, up to the end of close(). */
  constructor(socket: Duplex, head: Buffer, options: SpdyOptions) {
    this.#socket = socket;
    this.#options = options;
    if (head.length > 0) socket.unshift(head);
    this.#idle = setTimeout(() => {
      this.#fail(new RuntimeError('deadline-exceeded', `nothing moved for ${options.idleMs} ms`));
    }, options.idleMs).unref();
    options.closing.addEventListener('abort', this.#stop);
    if (options.closing.aborted) this.#stop();
    this.#reading = this.#read();
  }

  /** Aborted when the client is gone, was idle for too long, or sent what cannot be read, and when the agent stops. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /**
   * Says goodbye and waits until the client has left too: what it sends until then is read, or the
   * kernel would reset the connection and what it has not read yet be lost.
   */
  async close(): Promise<void> {
    this.#closing = true;
    this.#options.closing.removeEventListener('abort', this.#stop);
    this.#abandonStreams();
    if (!this.#said) void this.#send([goaway(this.#lastId, GOAWAY_OK)]);
    this.#socket.end();
    const late = setTimeout(() => this.#socket.destroy(), LINGER_MS);
    await this.#reading;
    clearTimeout(late);
    clearTimeout(this.#idle);
    this.#socket.destroy();
  }

  // AbortSignal.any would leave a trace of each connection in the agent's own signal.
  readonly #stop = (): void => {
    this.#fail(this.#options.closing.reason as RuntimeError);
  };

  /** Until the client's end. Never rejects. */
  async #read(): Promise<void> {
    const parser = new FrameParser();
    try {
      for await (const chunk of this.#socket.iterator({ destroyOnReturn: false })) {
        if (this.#closing || this.gone.aborted) continue;
        this.#idle.refresh();
        await this.#parse(parser, chunk as Buffer);
      }
      this.#fail(hungUp());
    } catch (error) {
      this.#fail(hungUp(error));
    }
  }

  async #parse(parser: FrameParser, chunk: Buffer): Promise<void> {
    try {
      for (const frame of parser.push(chunk)) await this.#take(frame);
    } catch (error) {
      if (!(error instanceof RuntimeError)) throw error;
      this.#said = true;
      void this.#send([goaway(this.#lastId, GOAWAY_PROTOCOL_ERROR)]);
      this.#fail(error);
    }
  }

  #fail(reason: RuntimeError): void {
    if (this.#closing) return;
    this.#gone.abort(reason);
    this.#abandonStreams();
  }

  #abandonStreams(): void {
    for (const stream of this.#streams.values()) stream.abandon();
    this.#streams.clear();
  }

  async #take(frame: Frame): Promise<void> {
    if (this.#closing || this.gone.aborted) return;
    switch (frame.kind) {
      case 'data': {
        const stream = this.#streams.get(frame.streamId);
        // One that was reset here may have had data under way.
        await stream?.receive(frame.bytes);
        if (frame.fin) stream?.receiveEnd();
        return;
      }
      case 'syn-stream':
        this.#open(frame);
        break;
      case 'headers':
        // Read for the sake of those that follow.
        this.#headers.read(frame.block);
        if (frame.fin) this.#streams.get(frame.streamId)?.receiveEnd();
        return;
      case 'rst-stream':
        this.#streams.get(frame.streamId)?.abandon();
        return;
      case 'ping':
        // The answer to a ping of our own would be even.
        if (frame.id % 2 === 1) void this.#send([ping(frame.id)]);
        break;
      case 'goaway':
        // No more streams will come; those that are open end by themselves.
        return;
    }
    await this.#roomForReplies();
  }

  #open({ streamId, fin, unidirectional, block }: Frame & { kind: 'syn-stream' }): void {
    const headers = this.#headers.read(block);
    if (streamId % 2 === 0 || streamId <= this.#lastId) {
      throw malformed(`stream ${streamId} opened after stream ${this.#lastId}`);
    }
    this.#lastId = streamId;
    const stream = new SpdyStream(streamId, headers, (frames) => this.#send(frames));
    const refused =
      unidirectional ||
      this.#streams.size >= this.#options.maxStreams ||
      !this.#options.onStream(stream);
    if (refused) {
      void this.#send([rstStream(streamId, REFUSED_STREAM)]);
      stream.abandon();
      return;
    }
    this.#streams.set(streamId, stream);
    stream.once('close', () => this.#streams.delete(streamId));
    // Before any data: a client drops what comes for a stream without a reply.
    void this.#send([synReply(streamId, replyBlock(!this.#replied))]);
    this.#replied = true;
    if (fin) stream.receiveEnd();
  }

  async #send(frames: Uint8Array[]): Promise<void> {
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded || frames.length === 0) return;
    this.#idle.refresh();
    socket.cork();
    for (const frame of frames.slice(0, -1)) socket.write(frame);
    await new Promise<void>((resolve) => {
      socket.write(frames.at(-1), () => {
        resolve();
      });
      socket.uncork();
    });
    this.#idle.refresh();
  }

  async #roomForReplies(): Promise<void> {
    const socket = this.#socket;
    while (socket.writableLength > MAX_REPLY_BYTES && !socket.destroyed) {
      const waiting = new AbortController();
      const { signal } = waiting;
      await Promise.race([once(socket, 'drain', { signal }), once(socket, 'close', { signal })])
        // Its error says so by 'close' too.
        .catch(() => undefined);
      waiting.abort();
    }
  }
}

function hungUp(cause?: unknown): RuntimeError {
  return new RuntimeError('cancelled', 'the client hung up', cause);
}
