/** Reads the output of a native helper from a pipe, up to a limit, without ever stopping to drain it. */
import { Socket } from 'node:net';

export class PipeReader {
  /** When the last writer closed its end. */
  readonly ended: Promise<void>;
  readonly #socket: Socket;
  readonly #chunks: Buffer[] = [];
  #room: number;

  /** Takes the descriptor over. */
  constructor(fd: number, limit: number) {
    this.#room = limit;
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.on('data', (chunk: Buffer) => {
      if (this.#room > 0) this.#chunks.push(chunk.subarray(0, this.#room));
      this.#room = Math.max(0, this.#room - chunk.length);
    });
    // 'close' follows; a pipe whose read fails has ended all the same.
    this.#socket.on('error', () => this.#socket.destroy());
    this.ended = new Promise((resolve) => {
      this.#socket.once('close', () => {
        resolve();
      });
    });
  }

  content(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  close(): void {
    this.#socket.destroy();
  }
}
