/** NRI's multiplexing: one socket carries two connections, each frame says whose it is. */
import type { Duplex } from 'node:stream';

/** Connection ids: on the first the runtime calls the plugin, on the second the plugin the runtime. */
export const PLUGIN_CONNECTION = 1;
export const RUNTIME_CONNECTION = 2;

/** Id and length of the payload, 4 bytes each, big-endian. */
const HEADER_BYTES = 8;
/** A whole ttrpc message: what NRI's own writer never exceeds in one frame. */
const MAX_PAYLOAD = 10 + (4 << 20);
/**
 * NRI's own reader takes a frame into the buffer that its caller happens to have: 4 KiB at the start
 * of a message (Go's bufio), the rest of the message after that. Longer frames end the connection.
 */
const FIRST_FRAME = 4096;
/** What a plugin that does not read may make us keep. */
const MAX_UNSENT = 16 << 20;

export class FrameError extends Error {}

/** Cuts a stream into frames; payloads are passed on as they come, nothing is kept of them. */
export class FrameReader {
  readonly #onData: (id: number, bytes: Buffer) => void;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerSize = 0;
  #id = 0;
  #left = 0;

  constructor(onData: (id: number, bytes: Buffer) => void) {
    this.#onData = onData;
  }

  push(bytes: Buffer): void {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#left > 0) {
        const part = rest.subarray(0, this.#left);
        this.#left -= part.length;
        rest = rest.subarray(part.length);
        this.#onData(this.#id, part);
      } else {
        const copied = rest.copy(this.#header, this.#headerSize);
        this.#headerSize += copied;
        rest = rest.subarray(copied);
        if (this.#headerSize === HEADER_BYTES) this.#begin();
      }
    }
  }

  #begin(): void {
    this.#id = this.#header.readUInt32BE(0);
    this.#left = this.#header.readUInt32BE(4);
    this.#headerSize = 0;
    if (this.#left > MAX_PAYLOAD) {
      throw new FrameError(`a frame of ${this.#left} bytes is longer than ${MAX_PAYLOAD}`);
    }
  }
}

/** The frames of one ttrpc message. */
export function toFrames(id: number, message: Buffer): Buffer[] {
  const parts = [message.subarray(0, FIRST_FRAME)];
  if (message.length > FIRST_FRAME) parts.push(message.subarray(FIRST_FRAME));
  return parts.flatMap((part) => {
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32BE(id, 0);
    header.writeUInt32BE(part.length, 4);
    return [header, part];
  });
}

export interface MuxEvents {
  data(id: number, bytes: Buffer): void;
  /** Once; null for an orderly end. Nothing follows. */
  closed(error: Error | null): void;
}

/** Both connections of one plugin. */
export class Mux {
  readonly #socket: Duplex;
  readonly #events: MuxEvents;
  #closed = false;

  constructor(socket: Duplex, events: MuxEvents) {
    this.#socket = socket;
    this.#events = events;
    const reader = new FrameReader((id, bytes) => {
      if (!this.#closed) events.data(id, bytes);
    });
    socket.on('data', (bytes: Buffer) => {
      if (this.#closed) return;
      try {
        reader.push(bytes);
      } catch (error) {
        this.close(error instanceof Error ? error : new Error(String(error)));
      }
    });
    socket.on('error', (error: Error) => {
      this.close(error);
    });
    socket.on('end', () => {
      this.close(null);
    });
    socket.on('close', () => {
      this.close(null);
    });
  }

  /** One ttrpc message. */
  send(id: number, message: Buffer): void {
    if (this.#closed) return;
    if (this.#socket.writableLength + message.length > MAX_UNSENT) {
      this.close(new FrameError('it does not read what it is sent'));
      return;
    }
    this.#socket.cork();
    for (const part of toFrames(id, message)) this.#socket.write(part);
    this.#socket.uncork();
  }

  /** Idempotent. */
  close(error: Error | null): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.destroy();
    this.#events.closed(error);
  }
}
