/**
 * A process' pipes as streams whose end never surprises: for commands that outlive their client.
 * They do not keep the agent alive.
 */
import { Socket } from 'node:net';
import { Readable, Writable } from 'node:stream';

/**
 * The reading end. To destroy it means that nobody wants the rest: the pipe is read on and emptied,
 * so that the writer is not disturbed.
 */
export class PipeOutput extends Readable {
  readonly #socket: Socket;
  #received = 0;
  #over = false;

  /** Takes the descriptor over. */
  constructor(fd: number) {
    super({ highWaterMark: 64 * 1024 });
    const socket = new Socket({ fd, readable: true, writable: false });
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#received += chunk.length;
      if (!this.#over && !this.destroyed && !this.push(chunk)) socket.pause();
    });
    socket.pause();
    socket.unref();
    // 'close' follows; a pipe whose read fails has ended all the same.
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      this.finish();
    });
  }

  /** Bytes that came so far, and whether more of them could be taken. */
  get progress(): { received: number; waitsForReader: boolean; over: boolean } {
    const waitsForReader = !this.destroyed && this.readableLength > 0;
    return { received: this.#received, waitsForReader, over: this.#over };
  }

  /** What came until now is all. */
  finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#socket.destroy();
    if (!this.destroyed) this.push(null);
  }

  override _read(): void {
    if (!this.#over) this.#socket.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.#over) this.#socket.resume();
    callback(error);
  }
}

/** The writing end. What the process does not read any more is accepted and dropped. */
export class PipeInput extends Writable {
  readonly #socket: Socket;

  /** Takes the descriptor over. */
  constructor(fd: number) {
    super();
    this.#socket = new Socket({ fd, readable: false, writable: true });
    this.#socket.on('error', () => this.#socket.destroy());
    this.#socket.unref();
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    writeTo(this.#socket, chunk, callback);
  }

  override _final(callback: () => void): void {
    this.#socket.destroy();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#socket.destroy();
    callback(error);
  }
}

/** Calls back when the bytes are written, or when they never will be. */
export function writeTo(socket: Socket, bytes: Uint8Array, callback: () => void): void {
  if (socket.destroyed) {
    callback();
    return;
  }
  let called = false;
  const once = (): void => {
    socket.off('close', once);
    if (!called) callback();
    called = true;
  };
  // A socket that is destroyed in the middle need not call back.
  socket.once('close', once);
  socket.write(bytes, once);
}
