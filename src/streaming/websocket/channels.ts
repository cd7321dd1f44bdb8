/** Channels of a WebSocket: several streams of bytes on one connection. */
import { Duplex } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { RuntimeError } from '../../core/errors.js';
import type { MessageFormat } from './messages.js';

/** What a client may send ahead of who reads; after that the whole connection waits. */
const BUFFER_BYTES = 64 * 1024;
/** In one message. */
const MAX_SEND_BYTES = 64 * 1024;
/** How long a client may take to leave once it was told to. */
const LINGER_MS = 5000;
/** Not a channel: its one byte names the channel that the client has ended (since version 5). */
const END_OF_CHANNEL = 255;
const NORMAL_CLOSURE = 1000;

export interface ChannelOptions {
  readonly format: MessageFormat;
  /** Whether the client may end a channel. */
  readonly endsChannels: boolean;
  /** A connection on which nothing moves in either direction is closed after so long. */
  readonly idleMs: number;
  /** Aborted when the agent stops. */
  readonly closing: AbortSignal;
}

export class ChannelConnection {
  readonly #webSocket: WebSocket;
  readonly #options: ChannelOptions;
  readonly #channels = new Map<number, Channel>();
  readonly #full = new Set<Channel>();
  readonly #gone = new AbortController();
  readonly #closed: Promise<void>;
  readonly #idle: NodeJS.Timeout;
  #closing = false;

  constructor(webSocket: WebSocket, options: ChannelOptions) {
    this.#webSocket = webSocket;
    this.#options = options;
    this.#idle = setTimeout(() => {
      this.#fail(new RuntimeError('deadline-exceeded', `nothing moved for ${options.idleMs} ms`));
    }, options.idleMs).unref();
    options.closing.addEventListener('abort', this.#stop);
    if (options.closing.aborted) this.#stop();
    webSocket.on('message', (data) => {
      this.#take(data);
    });
    webSocket.on('ping', () => this.#idle.refresh());
    // A frame that cannot be read; 'close' follows.
    webSocket.on('error', (error) => {
      this.#fail(hungUp(error));
    });
    this.#closed = new Promise((resolve) => {
      webSocket.on('close', () => {
        this.#fail(hungUp());
        resolve();
      });
    });
  }

  /** Aborted when the client is gone, was idle for too long, or sent what cannot be read, and when the agent stops. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Its end() is not told: a channel ends with the connection. */
  open(number: number): Channel {
    const channel = new Channel({
      send: (bytes) => this.#send(number, bytes),
      full: () => {
        this.#full.add(channel);
        this.#webSocket.pause();
      },
      wanted: () => {
        this.#full.delete(channel);
        if (this.#full.size === 0) this.#webSocket.resume();
      },
    });
    this.#channels.set(number, channel);
    return channel;
  }

  /** Says goodbye, after all that was written, and waits until the client has left too. */
  async close(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#idle);
    this.#options.closing.removeEventListener('abort', this.#stop);
    this.#abandonChannels();
    this.#webSocket.resume();
    this.#webSocket.close(NORMAL_CLOSURE);
    const late = setTimeout(() => {
      this.#webSocket.terminate();
    }, LINGER_MS);
    await this.#closed;
    clearTimeout(late);
  }

  // AbortSignal.any would leave a trace of each connection in the agent's own signal.
  readonly #stop = (): void => {
    this.#fail(this.#options.closing.reason as RuntimeError);
  };

  #take(data: RawData): void {
    if (this.#closing || this.gone.aborted) return;
    this.#idle.refresh();
    const message = this.#options.format.decode(toBuffer(data));
    if (message === null) return;
    const { channel, bytes } = message;
    if (channel === END_OF_CHANNEL && this.#options.endsChannels) {
      const [ended] = bytes;
      if (ended !== undefined && bytes.length === 1) this.#channels.get(ended)?.receiveEnd();
      return;
    }
    // One that nobody asked for: thrown away, as by the other runtimes.
    if (bytes.length > 0) this.#channels.get(channel)?.receive(bytes);
  }

  async #send(channel: number, bytes: Uint8Array): Promise<void> {
    this.#idle.refresh();
    await new Promise<void>((resolve) => {
      this.#webSocket.send(this.#options.format.encode(channel, bytes), () => {
        // When it failed the connection ends, and all who write are told by that.
        resolve();
      });
    });
    this.#idle.refresh();
  }

  #fail(reason: RuntimeError): void {
    if (this.#closing) return;
    this.#gone.abort(reason);
    this.#abandonChannels();
  }

  #abandonChannels(): void {
    for (const channel of this.#channels.values()) channel.destroy();
    this.#channels.clear();
  }
}

interface ChannelEvents {
  /** Resolves when there is room for more, also when there never will be. */
  send(bytes: Uint8Array): Promise<void>;
  /** Nothing more should come for now. */
  full(): void;
  wanted(): void;
}

export class Channel extends Duplex {
  readonly #events: ChannelEvents;
  #clientEnded = false;

  constructor(events: ChannelEvents) {
    super({ readableHighWaterMark: BUFFER_BYTES, writableHighWaterMark: BUFFER_BYTES });
    this.#events = events;
    // A channel that is destroyed says so by 'close' too; nobody needs to listen.
    this.on('error', () => undefined);
  }

  receive(bytes: Buffer): void {
    if (this.destroyed || this.#clientEnded) return;
    if (!this.push(bytes)) this.#events.full();
  }

  /** Nothing more is taken from the client. */
  receiveEnd(): void {
    if (this.#clientEnded) return;
    this.#clientEnded = true;
    this.push(null);
  }

  override _read(): void {
    this.#events.wanted();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    void this.#sendAll(chunk).then(() => {
      done();
    });
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#events.wanted();
    done(error);
  }

  async #sendAll(chunk: Buffer): Promise<void> {
    // An empty one is sent too: it is how a client learns that the channels are open.
    for (let at = 0; at === 0 || at < chunk.length; at += MAX_SEND_BYTES) {
      await this.#events.send(chunk.subarray(at, at + MAX_SEND_BYTES));
    }
  }
}

function toBuffer(data: RawData): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data);
  return Buffer.isBuffer(data) ? data : Buffer.from(data);
}

function hungUp(cause?: unknown): RuntimeError {
  return new RuntimeError('cancelled', 'the client hung up', cause);
}
