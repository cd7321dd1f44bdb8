/** The messages of ttrpc on the wire: ten bytes of header, then a protobuf envelope. */

export const MESSAGE_REQUEST = 1;
export const MESSAGE_RESPONSE = 2;
export const MESSAGE_DATA = 3;

/** Longer data is refused by both sides. */
export const MAX_DATA = 4 << 20;
/** Length of the data and id of the stream, 4 bytes each, big-endian; type; flags. */
const HEADER_BYTES = 10;

export interface Message {
  stream: number;
  type: number;
  flags: number;
  /** null for data that was longer than MAX_DATA, and thrown away. */
  data: Buffer | null;
}

export function encodeMessage(stream: number, type: number, data: Uint8Array): Buffer {
  const message = Buffer.alloc(HEADER_BYTES + data.length);
  message.writeUInt32BE(data.length, 0);
  message.writeUInt32BE(stream, 4);
  message.writeUInt8(type, 8);
  message.set(data, HEADER_BYTES);
  return message;
}

/** Cuts a stream into messages; keeps no more than one of them. */
export class MessageReader {
  readonly #onMessage: (message: Message) => void;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerSize = 0;
  /** null while a header is read, or what follows it is thrown away. */
  #body: Buffer | null = null;
  #bodySize = 0;
  #skip = 0;

  constructor(onMessage: (message: Message) => void) {
    this.#onMessage = onMessage;
  }

  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, bytes.length - at);
        this.#skip -= skipped;
        at += skipped;
      } else if (this.#body === null) {
        const copied = bytes.copy(this.#header, this.#headerSize, at);
        this.#headerSize += copied;
        at += copied;
        if (this.#headerSize === HEADER_BYTES) this.#begin();
      } else {
        const copied = bytes.copy(this.#body, this.#bodySize, at);
        this.#bodySize += copied;
        at += copied;
        if (this.#bodySize === this.#body.length) this.#end(this.#body);
      }
    }
  }

  #begin(): void {
    const length = this.#header.readUInt32BE(0);
    if (length > MAX_DATA) {
      this.#skip = length;
      this.#end(null);
      return;
    }
    this.#body = Buffer.allocUnsafe(length);
    this.#bodySize = 0;
    if (length === 0) this.#end(this.#body);
  }

  #end(data: Buffer | null): void {
    const message = {
      stream: this.#header.readUInt32BE(4),
      type: this.#header.readUInt8(8),
      flags: this.#header.readUInt8(9),
      data,
    };
    this.#body = null;
    this.#headerSize = 0;
    this.#onMessage(message);
  }
}
