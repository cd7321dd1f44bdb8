/**
 * Bytes as text that JSON can hold: UTF-8, and each byte that is not part of it as the lone surrogate
 * U+DC00 + byte, as Python does since PEP 383. Text without such bytes is what it always was.
 */
const ESCAPE = 0xdc00;
// With the u flag, half of a pair of surrogates does not match.
const ESCAPES = /([\udc80-\udcff]+)/u;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function textFromBytes(bytes: Uint8Array): string {
  const parts: string[] = [];
  let start = 0;
  for (let at = 0; at < bytes.length;) {
    const length = sequenceLength(bytes, at);
    if (length === 0) {
      parts.push(UTF8.decode(bytes.subarray(start, at)));
      parts.push(String.fromCharCode(ESCAPE + (bytes[at] ?? 0)));
      start = at + 1;
    }
    at += length || 1;
  }
  parts.push(UTF8.decode(bytes.subarray(start)));
  return parts.join('');
}

export function bytesFromText(text: string): Buffer {
  return Buffer.concat(
    // latin1 keeps the low byte of each unit, which is the byte that was escaped.
    text.split(ESCAPES).map((part, i) => Buffer.from(part, i % 2 === 0 ? 'utf8' : 'latin1')),
  );
}

/** Bytes of the UTF-8 character that starts here (RFC 3629), 0 when none does. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const lead = bytes[at] ?? 0;
  if (lead < 0x80) return 1;
  const length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  // Overlong forms, surrogates, and what is above U+10FFFF show in the second byte.
  const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  for (let i = 1; i < length; i += 1) {
    const byte = bytes[at + i] ?? 0;
    if (byte < (i === 1 ? low : 0x80) || byte > (i === 1 ? high : 0xbf)) return 0;
  }
  return length;
}
