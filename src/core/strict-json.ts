/** JSON from strangers: bounded in size and depth, without a key twice. */
import { RuntimeError } from './errors.js';

const MOST_DEPTH = 64;

/**
 * Parses a document, named `what` in errors. Two parsers may see different values where a key is there
 * twice, so such a document is refused, as is one that is no UTF-8. With `largeIntegers` integers of 16
 * digits and more, which a double might not hold, become bigints.
 */
export function parseStrictJson(
  bytes: Uint8Array,
  what: string,
  maxBytes: number,
  options: { largeIntegers?: boolean } = {},
): unknown {
  if (bytes.length > maxBytes) throw refused(what, `is larger than ${maxBytes} bytes`);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw refused(what, 'is not UTF-8');
  }
  checkDepth(text, what);
  let value: unknown;
  try {
    value =
      options.largeIntegers === true
        ? JSON.parse(markIntegers(text), unmarkInteger)
        : JSON.parse(text);
  } catch (error) {
    throw refused(what, `is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  checkKeys(text, what);
  return value;
}

/** Index of the quote that ends the string that starts at `start`, or the text's length. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at;
}

/** No string of a document means anything with a NUL in it. */
const MARK = '\u0000integer:';

/** Turns integers that a double may not hold into marked strings. */
function markIntegers(text: string): string {
  let marked = '';
  let copied = 0;
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === '"') at = endOfString(text, at);
    else if (/[-0-9]/.test(text[at] ?? '')) {
      const number = /^-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/.exec(
        text.slice(at, at + 400),
      )?.[0];
      if (number === undefined) continue;
      if (/^[1-9][0-9]{15,}$/.test(number)) {
        marked += `${text.slice(copied, at)}"\\u0000integer:${number}"`;
        copied = at + number.length;
      }
      at += number.length - 1;
    }
  }
  return marked + text.slice(copied);
}

function unmarkInteger(_key: string, value: unknown): unknown {
  return typeof value === 'string' && value.startsWith(MARK)
    ? BigInt(value.slice(MARK.length).replace(/[^0-9]/g, ''))
    : value;
}

function checkDepth(text: string, what: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') at = endOfString(text, at);
    else if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') depth -= 1;
    if (depth > MOST_DEPTH) throw refused(what, `is nested deeper than ${MOST_DEPTH} levels`);
  }
}

/** `text` is valid JSON by now. */
function checkKeys(text: string, what: string): void {
  // For each open bracket the keys seen so far; null for an array.
  const open: (Set<string> | null)[] = [];
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '{') open.push(new Set());
    else if (character === '[') open.push(null);
    else if (character === '}' || character === ']') open.pop();
    else if (character === '"') {
      const end = endOfString(text, at);
      const keys = open.at(-1);
      if (keys && /^\s*:/.test(text.slice(end + 1, end + 64))) {
        const key = String(JSON.parse(text.slice(at, end + 1)));
        if (keys.has(key)) throw refused(what, `has key ${JSON.stringify(key)} twice`);
        keys.add(key);
      }
      at = end;
    }
  }
}

function refused(what: string, why: string): RuntimeError {
  return new RuntimeError('invalid-argument', `${what} ${why}`);
}
