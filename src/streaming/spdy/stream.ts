/** One stream of a SPDY connection, opened by the client: bytes in both directions. */
import { Duplex } from 'node:stream';
import { CANCEL, dataFrames, finFrame, rstStream } from './frames.js';
import type { Headers } from './header-block.js';

/** What a client may send ahead of who reads; after that the whole connection waits. */
const BUFFER_BYTES = 64 * 1024;

/** Where a stream's frames go. Resolves when there is room for more, also when there never will be. */
export type SendFrames = (frames: Uint8Array[]) => Promise<void>;

/**
 * Its end() is a half-close, and so is the client's that 'end' tells of. destroy() resets the stream
 * unless both have happened; the connection's other streams go on.
 */
export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: Headers;
  readonly #send: SendFrames;
  #clientEnded = false;
  #ended = false;
  #silent = false;
  #wanted: (() => void) | undefined;

  constructor(id: number, headers: Headers, send: SendFrames) {
    super({ readableHighWaterMark: BUFFER_BYTES, writableHighWaterMark: BUFFER_BYTES });
    this.id = id;
    this.headers = headers;
    this.#send = send;
    // A stream that is destroyed says so by 'close' too; nobody needs to listen.
    this.on('error', () => undefined);
  }

  /** Data of the client. Resolves when it may send more. */
  async receive(bytes: Buffer): Promise<void> {
    if (this.destroyed || this.#clientEnded || this.push(bytes)) return;
    await new Promise<void>((resolve) => (this.#wanted = resolve));
  }

  /** The client's half-close. */
  receiveEnd(): void {
    if (this.#clientEnded) return;
    this.#clientEnded = true;
    this.push(null);
  }

  /** The client has reset it, or is gone. */
  abandon(): void {
    this.#silent = true;
    this.destroy();
  }

  override _read(): void {
    this.#wanted?.();
    this.#wanted = undefined;
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    void this.#send(dataFrames(this.id, chunk)).then(() => {
      done();
    });
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#ended = true;
    void this.#send([finFrame(this.id)]).then(() => {
      done();
    });
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this._read();
    const open = !this.#ended || !this.#clientEnded;
    if (open && !this.#silent) void this.#send([rstStream(this.id, CANCEL)]);
    done(error);
  }
}
