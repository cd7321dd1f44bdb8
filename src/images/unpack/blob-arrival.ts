/** How much of a blob has come, told to the helper that unpacks it meanwhile. */
import { closeSync, writeSync } from 'node:fs';

const LEAST_STEP = 256 * 1024;
/** A pipe takes as many bytes in any case (pipe(7)): telling never has to wait. */
const MOST_STEPS = 4000;

export class BlobArrival {
  /** Bytes of the blob for which the helper gets one byte (native/unpack/options.h). */
  readonly step: number;
  #steps = 0;
  #told = 0;
  #hasEnded = false;
  #fd: number | undefined;

  constructor(size: number) {
    this.step = Math.max(LEAST_STEP, Math.ceil(size / MOST_STEPS));
  }

  /** All of it is there, or nothing more will come. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** The first `doneBytes` are in the file. */
  advance(doneBytes: number): void {
    // A download that begins anew writes the same once more.
    this.#steps = Math.max(this.#steps, Math.floor(doneBytes / this.step));
    this.#tell();
  }

  end(): void {
    this.#hasEnded = true;
    this.disconnect();
  }

  /** From now on the helper is told by this pipe, whose descriptor is the arrival's from here on. */
  connect(fd: number): void {
    this.#fd = fd;
    this.#told = 0;
    this.#tell();
    if (this.#hasEnded) this.disconnect();
  }

  /** Idempotent. */
  disconnect(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #tell(): void {
    if (this.#fd === undefined || this.#told >= this.#steps) return;
    try {
      this.#told += writeSync(this.#fd, Buffer.alloc(this.#steps - this.#told));
    } catch {
      // EPIPE: the helper has ended, and its report says why.
      this.disconnect();
    }
  }
}
