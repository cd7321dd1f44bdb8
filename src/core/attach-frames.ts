/** Frames of an attached connection to a shim (native/common/wire.h): u8 channel, u32 length, bytes. */
import type { TerminalSize } from './model.js';

/** `enum class Channel` in wire.h. */
export const CHANNEL = {
  stdin: 0,
  stdout: 1,
  stderr: 2,
  size: 3,
  stdinEnd: 4,
  ended: 5,
} as const;

const HEADER = 5;
/** The shim takes up to 1 MiB. */
const MAX_PAYLOAD = 64 * 1024;

/** One or more frames that carry these bytes; at least one. */
export function encodeFrames(channel: number, bytes: Uint8Array = new Uint8Array()): Buffer {
  const parts: Uint8Array[] = [];
  let at = 0;
  do {
    const payload = bytes.subarray(at, at + MAX_PAYLOAD);
    const header = Buffer.alloc(HEADER);
    header.writeUInt8(channel);
    header.writeUInt32LE(payload.length, 1);
    parts.push(header, payload);
    at += payload.length;
  } while (at < bytes.length);
  return Buffer.concat(parts);
}

/** The bytes of a size, as both the shim and the exec helper read it. */
export function encodeSize({ rows, columns }: TerminalSize): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16LE(clamp(rows), 0);
  bytes.writeUInt16LE(clamp(columns), 2);
  return bytes;
}

function clamp(count: number): number {
  return Math.max(0, Math.min(0xffff, Math.trunc(count)));
}

/** Cuts a stream of frames. A frame's bytes are given on as they come, not collected. */
export class FrameDecoder {
  readonly #header = Buffer.alloc(HEADER);
  #headerSize = 0;
  #left = 0;

  *push(chunk: Uint8Array): Generator<{ channel: number; bytes: Uint8Array }> {
    for (let at = 0; at < chunk.length;) {
      if (this.#left === 0) {
        const part = chunk.subarray(at, at + HEADER - this.#headerSize);
        this.#header.set(part, this.#headerSize);
        this.#headerSize += part.length;
        at += part.length;
        if (this.#headerSize < HEADER) return;
        this.#headerSize = 0;
        this.#left = this.#header.readUInt32LE(1);
        if (this.#left === 0) yield { channel: this.#channel, bytes: new Uint8Array() };
      } else {
        const bytes = chunk.subarray(at, at + this.#left);
        this.#left -= bytes.length;
        at += bytes.length;
        yield { channel: this.#channel, bytes };
      }
    }
  }

  get #channel(): number {
    return this.#header.readUInt8(0);
  }
}
