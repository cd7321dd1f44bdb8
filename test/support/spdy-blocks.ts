/** Blocks of SPDY headers as a client deflates them: one zlib stream, flushed after each. */
import { constants, createDeflate } from 'node:zlib';
import { DICTIONARY } from '../../src/streaming/spdy/dictionary.js';

export class ClientBlocks {
  readonly #deflate = createDeflate({ dictionary: DICTIONARY });

  async headers(headers: Record<string, string>): Promise<Buffer> {
    const pairs = Object.entries(headers);
    const texts = pairs.flat().map((text) => Buffer.concat([u32(text.length), Buffer.from(text)]));
    return this.deflate(Buffer.concat([u32(pairs.length), ...texts]));
  }

  async deflate(plain: Buffer): Promise<Buffer> {
    const parts: Buffer[] = [];
    const collect = (part: Buffer): number => parts.push(part);
    this.#deflate.on('data', collect);
    this.#deflate.write(plain);
    await new Promise<void>((resolve) => {
      this.#deflate.flush(constants.Z_SYNC_FLUSH, resolve);
    });
    this.#deflate.off('data', collect);
    return Buffer.concat(parts);
  }

  close(): void {
    this.#deflate.close();
  }
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
