/** The sizes of a client's terminal: JSON objects, one behind the other, in a stream of bytes. */
import { z } from 'zod';
import { RuntimeError } from '../core/errors.js';
import type { TerminalSize } from '../core/model.js';

const uint16 = z.int().min(0).max(0xffff).default(0);
/** Keys as Go's encoding/json writes and reads them: in any case. */
const terminalSize = z.object({ width: uint16, height: uint16 });

/** One object is about 30 bytes. */
const MAX_BYTES = 4096;

/** Takes pieces as they come and answers the sizes that are complete. */
export class ResizeDecoder {
  #text = '';

  /** Throws for anything else; nothing can be read after that. */
  push(bytes: Uint8Array): TerminalSize[] {
    this.#text += Buffer.from(bytes).toString('latin1');
    const sizes: TerminalSize[] = [];
    for (let end = this.#text.indexOf('}'); end >= 0; end = this.#text.indexOf('}')) {
      sizes.push(parseSize(this.#text.slice(0, end + 1)));
      this.#text = this.#text.slice(end + 1);
    }
    if (this.#text.length > MAX_BYTES) throw malformed(this.#text.slice(0, 40));
    return sizes;
  }
}

function parseSize(text: string): TerminalSize {
  try {
    const { width, height } = terminalSize.parse(lowerKeys(JSON.parse(text)));
    return { rows: height, columns: width };
  } catch (error) {
    throw malformed(text.slice(0, 40), error);
  }
}

function lowerKeys(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [key.toLowerCase(), member as unknown]),
  );
}

function malformed(text: string, cause?: unknown): RuntimeError {
  return new RuntimeError(
    'invalid-argument',
    `resize event ${JSON.stringify(text)} is malformed: expected {"Width":80,"Height":24}`,
    cause,
  );
}
