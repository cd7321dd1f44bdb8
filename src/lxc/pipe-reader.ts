/** Reads the output of a native helper from a pipe, up to a limit, without ever stopping to drain it. */
import { Socket } from 'node:net';

/** What a reader may keep in any case: more than a kubelet keeps of a probe's output, 10 KiB. */
const OWN_BYTES = 16 * 1024;

/** Memory that readers share: who finds none left keeps no more than it has. */
export class SharedRoom {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#left += bytes;
  }
}

export class PipeReader {
  /** When the last writer closed its end. */
  readonly ended: Promise<void>;
  readonly #socket: Socket;
  readonly #shared: SharedRoom | undefined;
  // One buffer, not a list: a writer of single bytes would have us keep an object for each.
  #kept = Buffer.alloc(0);
  #length = 0;
  #limit: number;
  #taken = 0;

  /** Takes the descriptor over. */
  constructor(fd: number, limit: number, shared?: SharedRoom) {
    this.#limit = limit;
    this.#shared = shared;
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.on('data', (chunk: Buffer) => {
      this.#keep(chunk);
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
    return this.#kept.subarray(0, this.#length);
  }

  close(): void {
    this.#socket.destroy();
    this.#limit = this.#length;
    this.#shared?.giveBack(this.#taken);
    this.#taken = 0;
  }

  #keep(chunk: Buffer): void {
    const wanted = Math.min(this.#length + chunk.length, this.#limit);
    if (wanted > this.#kept.length) this.#grow(wanted);
    this.#length += chunk.copy(this.#kept, this.#length, 0, this.#limit - this.#length);
  }

  #grow(wanted: number): void {
    const before = this.#kept.length;
    let size = Math.min(Math.max(wanted, before * 2, OWN_BYTES), this.#limit);
    const more = size - Math.max(before, OWN_BYTES);
    if (more > 0 && this.#shared !== undefined) {
      if (this.#shared.take(more)) this.#taken += more;
      else size = this.#limit = Math.max(before, OWN_BYTES);
    }
    if (size === before) return;
    const kept = Buffer.allocUnsafe(size);
    this.content().copy(kept);
    this.#kept = kept;
  }
}
