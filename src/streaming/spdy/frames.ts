/** The frames of SPDY/3.1, as moby/spdystream speaks it: clients have no other flow control than TCP's. */
import { RuntimeError } from '../../core/errors.js';

/** What a client sends, and may matter. Data comes in pieces as the network has cut it. */
export type Frame =
  | { kind: 'data'; streamId: number; bytes: Buffer; fin: boolean }
  | { kind: 'syn-stream'; streamId: number; fin: boolean; unidirectional: boolean; block: Buffer }
  | { kind: 'headers'; streamId: number; fin: boolean; block: Buffer }
  | { kind: 'rst-stream'; streamId: number }
  | { kind: 'ping'; id: number }
  | { kind: 'goaway' };

/** Status codes of RST_STREAM. */
export const PROTOCOL_ERROR = 1;
export const REFUSED_STREAM = 3;
export const CANCEL = 5;

/** Status codes of GOAWAY. */
export const GOAWAY_OK = 0;
export const GOAWAY_PROTOCOL_ERROR = 1;

const VERSION = 3;
const TYPE = { synStream: 1, synReply: 2, rstStream: 3, ping: 6, goaway: 7, headers: 8 } as const;
const FLAG_FIN = 1;
const FLAG_UNIDIRECTIONAL = 2;

const HEADER_BYTES = 8;
/** Of a data frame: its length is a number of 24 bits. */
const MAX_DATA_BYTES = (1 << 24) - 1;
/** A frame that is no data is kept whole until its end is here. */
const MAX_CONTROL_BYTES = 16 * 1024;

export function malformed(what: string): RuntimeError {
  return new RuntimeError('invalid-argument', `malformed SPDY: ${what}`);
}

interface Header {
  control: boolean;
  type: number;
  streamId: number;
  flags: number;
}

/** Takes bytes as they come. Throws for what is no SPDY; nothing can be read after that. */
export class FrameParser {
  readonly #headerBytes = Buffer.alloc(HEADER_BYTES);
  #headerFilled = 0;
  #header: Header | undefined;
  /** Of the frame's bytes behind its header. */
  #left = 0;
  /** Of a control frame. */
  #payload = Buffer.alloc(0);

  *push(chunk: Buffer): Generator<Frame, void, undefined> {
    let rest = chunk;
    for (;;) {
      if (this.#header === undefined) {
        const taken = rest.copy(this.#headerBytes, this.#headerFilled);
        rest = rest.subarray(taken);
        this.#headerFilled += taken;
        if (this.#headerFilled < HEADER_BYTES) return;
        this.#begin();
        continue;
      }
      const { control, streamId, flags } = this.#header;
      const piece = rest.subarray(0, this.#left);
      rest = rest.subarray(piece.length);
      if (control) piece.copy(this.#payload, this.#payload.length - this.#left);
      this.#left -= piece.length;
      const complete = this.#left === 0;
      if (control && complete) yield* parseControl(this.#header, this.#payload);
      const fin = complete && (flags & FLAG_FIN) !== 0;
      if (!control && (piece.length > 0 || fin))
        yield { kind: 'data', streamId, bytes: piece, fin };
      if (!complete) return;
      this.#header = undefined;
      this.#headerFilled = 0;
    }
  }

  #begin(): void {
    const first = this.#headerBytes.readUInt32BE(0);
    const control = first >>> 31 === 1;
    const version = (first >>> 16) & 0x7fff;
    if (control && version !== VERSION) throw malformed(`a frame of version ${version}`);
    this.#header = {
      control,
      type: first & 0xffff,
      streamId: first & 0x7fffffff,
      flags: this.#headerBytes.readUInt8(4),
    };
    this.#left = this.#headerBytes.readUIntBE(5, 3);
    if (control) {
      if (this.#left > MAX_CONTROL_BYTES) {
        throw malformed(`a control frame of ${this.#left} bytes, at most ${MAX_CONTROL_BYTES}`);
      }
      this.#payload = Buffer.alloc(this.#left);
    } else if (this.#header.streamId === 0) {
      throw malformed('data of stream 0');
    }
  }
}

function* parseControl({ type, flags }: Header, payload: Buffer): Generator<Frame> {
  const need = (bytes: number): void => {
    if (payload.length < bytes) {
      throw malformed(`a frame of type ${type} has ${payload.length} bytes, at least ${bytes}`);
    }
  };
  const streamId = (): number => {
    const id = payload.readUInt32BE(0) & 0x7fffffff;
    if (id === 0) throw malformed(`a frame of type ${type} for stream 0`);
    return id;
  };
  const fin = (flags & FLAG_FIN) !== 0;
  switch (type) {
    case TYPE.synStream:
      // Stream, associated stream, priority and slot stand before the headers.
      need(10);
      yield {
        kind: 'syn-stream',
        streamId: streamId(),
        fin,
        unidirectional: (flags & FLAG_UNIDIRECTIONAL) !== 0,
        block: payload.subarray(10),
      };
      return;
    case TYPE.headers:
      need(4);
      yield { kind: 'headers', streamId: streamId(), fin, block: payload.subarray(4) };
      return;
    case TYPE.rstStream:
      need(8);
      yield { kind: 'rst-stream', streamId: streamId() };
      return;
    case TYPE.ping:
      need(4);
      yield { kind: 'ping', id: payload.readUInt32BE(0) };
      return;
    case TYPE.goaway:
      yield { kind: 'goaway' };
      return;
    case TYPE.synReply:
      throw malformed('a reply to a stream that was not opened');
    default:
    // SETTINGS, WINDOW_UPDATE and what is unknown are skipped, as the specification has it.
  }
}

/** Headers of the frames that carry `bytes`: each is to be followed by its part of them. */
export function dataFrames(streamId: number, bytes: Uint8Array): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += MAX_DATA_BYTES) {
    const part = bytes.subarray(at, at + MAX_DATA_BYTES);
    frames.push(header(streamId, 0, part.length), part);
  }
  return frames;
}

export function finFrame(streamId: number): Buffer {
  return header(streamId, FLAG_FIN, 0);
}

export function synReply(streamId: number, block: Uint8Array): Buffer {
  return control(TYPE.synReply, uint32(streamId), block);
}

export function rstStream(streamId: number, status: number): Buffer {
  return control(TYPE.rstStream, uint32(streamId), uint32(status));
}

export function ping(id: number): Buffer {
  return control(TYPE.ping, uint32(id));
}

export function goaway(lastStreamId: number, status: number): Buffer {
  return control(TYPE.goaway, uint32(lastStreamId), uint32(status));
}

function control(type: number, ...parts: Uint8Array[]): Buffer {
  const payload = Buffer.concat(parts);
  const first = (0x80000000 | (VERSION << 16) | type) >>> 0;
  return Buffer.concat([header(first, 0, payload.length), payload]);
}

function header(first: number, flags: number, length: number): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt32BE(first, 0);
  bytes.writeUInt8(flags, 4);
  bytes.writeUIntBE(length, 5, 3);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
