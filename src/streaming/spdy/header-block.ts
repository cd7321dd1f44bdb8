/**
 * Blocks of headers: names and values, deflated. All blocks of a connection's direction are one zlib
 * stream, flushed after each.
 */
import { constants, inflateRawSync } from 'node:zlib';
import { DICTIONARY, DICTIONARY_ID } from './dictionary.js';
import { malformed } from './frames.js';

/** Of one block, inflated. A stream of exec has 30 bytes, one of port-forward 60. */
const MAX_BYTES = 64 * 1024;
/** As far back as deflate can refer (RFC 1951). */
const WINDOW_BYTES = 32 * 1024;
/** CMF, FLG and DICTID. */
const ZLIB_HEADER_BYTES = 6;
const FLAG_DICTIONARY = 0x20;
const METHOD_DEFLATE = 8;

/** By name, in lower case; of several values the first. */
export type Headers = ReadonlyMap<string, string>;

/** Reads the blocks of one direction: each one, and in their order. */
export class HeaderReader {
  #window: Buffer | undefined;

  /** Throws for what is malformed; nothing can be read after that. */
  read(block: Buffer): Headers {
    const deflated = this.#window === undefined ? withoutZlibHeader(block) : block;
    const window = this.#window ?? DICTIONARY;
    const plain = inflate(deflated, window);
    this.#window = Buffer.concat([window, plain]).subarray(-WINDOW_BYTES);
    return parseHeaders(plain);
  }
}

function withoutZlibHeader(block: Buffer): Buffer {
  if (block.length < ZLIB_HEADER_BYTES) throw malformed('headers without a zlib header');
  const [method = 0, flags = 0] = block;
  const good =
    (method & 0x0f) === METHOD_DEFLATE &&
    (method * 256 + flags) % 31 === 0 &&
    (flags & FLAG_DICTIONARY) !== 0 &&
    block.readUInt32BE(2) === DICTIONARY_ID;
  if (!good) throw malformed("headers that are not deflated with SPDY's dictionary");
  return block.subarray(ZLIB_HEADER_BYTES);
}

/**
 * The stream is cut at its flushes, where deflate stands at a byte's border, and each part inflated by
 * itself with what came before as its dictionary: Node's zlib streams are asynchronous.
 */
function inflate(deflated: Buffer, dictionary: Buffer): Buffer {
  try {
    return inflateRawSync(deflated, {
      dictionary,
      finishFlush: constants.Z_SYNC_FLUSH,
      maxOutputLength: MAX_BYTES,
    });
  } catch (error) {
    throw malformed(`headers: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function parseHeaders(plain: Buffer): Headers {
  const headers = new Map<string, string>();
  let at = 0;
  const uint32 = (): number => {
    if (plain.length - at < 4) throw malformed('headers end early');
    at += 4;
    return plain.readUInt32BE(at - 4);
  };
  const text = (): string => {
    const length = uint32();
    if (length > plain.length - at) throw malformed('headers end early');
    at += length;
    return plain.toString('latin1', at - length, at);
  };
  for (let left = uint32(); left > 0; left--) {
    const name = text();
    const [value = ''] = text().split('\0', 1);
    if (name === '' || name !== name.toLowerCase() || headers.has(name)) {
      throw malformed(
        `header ${JSON.stringify(name.slice(0, 40))}: empty, not in lower case or twice`,
      );
    }
    headers.set(name, value);
  }
  if (at !== plain.length) throw malformed('bytes behind the headers');
  return headers;
}

/**
 * The block of a reply: no headers at all, stored, with a flush behind it (RFC 1951, 3.2.4). Nothing
 * refers to what was sent before, so there is no state to keep.
 */
export function replyBlock(first: boolean): Buffer {
  return first ? Buffer.concat([ZLIB_HEADER, NO_HEADERS]) : NO_HEADERS;
}

const ZLIB_HEADER = Buffer.from('78bbe3c6a7c2', 'hex');
const NO_HEADERS = Buffer.from('000400fbff' + '00000000' + '000000ffff', 'hex');
