/** A client's place at a container's own process: frames of the shim as streams. */
import type { Socket } from 'node:net';
import { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { CHANNEL, encodeFrames, encodeSize, FrameDecoder } from '../core/attach-frames.js';
import type { TerminalSize } from '../core/model.js';
import type { AttachRequest, AttachSession } from '../core/ports/engine.js';
import { writeTo } from './process-pipes.js';

/** `socket` is paused and speaks frames; `received` came before it was. */
export function attachSession(
  socket: Socket,
  received: Uint8Array,
  request: AttachRequest,
): AttachSession {
  return new ShimSession(socket, received, request);
}

class ShimSession implements AttachSession {
  readonly stdin: Writable | null;
  readonly stdout: AttachedOutput;
  readonly stderr: AttachedOutput | null;
  readonly ended: Promise<'exited' | 'dropped' | 'detached'>;
  readonly #socket: Socket;
  readonly #decoder = new FrameDecoder();
  #end: 'exited' | 'dropped' | 'detached' = 'dropped';

  constructor(socket: Socket, received: Uint8Array, { stdin, tty }: AttachRequest) {
    this.#socket = socket;
    this.stdin = stdin ? new AttachedInput(socket) : null;
    const resume = (): void => {
      if (this.#outputs().every((output) => output.isReady)) socket.resume();
    };
    this.stdout = new AttachedOutput(resume);
    this.stderr = tty ? null : new AttachedOutput(resume);
    socket.on('data', (chunk: Buffer) => {
      this.#take(chunk);
    });
    socket.pause();
    socket.unref();
    socket.once('close', () => {
      for (const output of this.#outputs()) output.end();
    });
    this.ended = this.#untilEnd();
    this.#take(received);
  }

  resize(size: TerminalSize): void {
    if (!this.#socket.destroyed) this.#socket.write(encodeFrames(CHANNEL.size, encodeSize(size)));
  }

  detach(): void {
    if (!this.#socket.destroyed) this.#end = 'detached';
    this.#socket.destroy();
    for (const output of this.#outputs()) output.destroy();
  }

  #take(chunk: Uint8Array): void {
    for (const { channel, bytes } of this.#decoder.push(chunk)) {
      if (channel === CHANNEL.ended) {
        this.#end = 'exited';
        this.#socket.destroy();
      } else {
        (channel === CHANNEL.stderr ? this.stderr : this.stdout)?.give(bytes);
      }
    }
    if (!this.#outputs().every((output) => output.isReady)) this.#socket.pause();
  }

  async #untilEnd(): Promise<'exited' | 'dropped' | 'detached'> {
    await Promise.all(
      this.#outputs().map((output) => finished(output, { writable: false }).catch(() => undefined)),
    );
    // Both were destroyed, and nobody asked for anything else: there is still a container to follow.
    if (!this.#socket.destroyed) {
      this.#socket.resume();
      await new Promise((resolve) => this.#socket.once('close', resolve));
    }
    this.stdin?.destroy();
    return this.#end;
  }

  #outputs(): AttachedOutput[] {
    return this.stderr === null ? [this.stdout] : [this.stdout, this.stderr];
  }
}

class AttachedOutput extends Readable {
  /** True while it can take more, or takes nothing any more. */
  isReady = true;
  readonly #resume: () => void;
  #over = false;

  constructor(resume: () => void) {
    super({ highWaterMark: 64 * 1024 });
    this.#resume = resume;
  }

  give(bytes: Uint8Array): void {
    if (!this.#over && !this.destroyed) this.isReady = this.push(bytes);
  }

  end(): void {
    if (this.#over) return;
    this.#over = true;
    if (!this.destroyed) this.push(null);
  }

  override _read(): void {
    this.isReady = true;
    this.#resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.isReady = true;
    if (!this.#over) this.#resume();
    callback(error);
  }
}

class AttachedInput extends Writable {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    super();
    this.#socket = socket;
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    writeTo(this.#socket, encodeFrames(CHANNEL.stdin, chunk), callback);
  }

  override _final(callback: () => void): void {
    writeTo(this.#socket, encodeFrames(CHANNEL.stdinEnd), callback);
  }
}
