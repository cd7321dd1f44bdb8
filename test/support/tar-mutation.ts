/** Archives that are almost right. */

/** A generator of numbers below 2^32 that gives the same ones each time (xorshift32). */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Offset and length of the fields of a header that a reader makes decisions from. */
const FIELDS: [number, number][] = [
  ...([
    [0, 100],
    [100, 8],
    [108, 8],
    [116, 8],
    [124, 12],
    [136, 12],
    [156, 1],
    [157, 100],
    [257, 8],
    [329, 8],
    [345, 155],
  ] as [number, number][]),
  // Of GNU's old sparse files.
  ...([
    [386, 12],
    [398, 12],
    [482, 1],
    [483, 12],
  ] as [number, number][]),
];
const VALUES = [
  ...['0', '1', '7777777', '-1', '77777777777', '../x', '/', '.', '.wh.', '.wh..wh..opq', 'a/b'],
  ...['\x80\x00\x00\x00\x00\x00\x00\x01', '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff'],
  ...['ustar  \0', '', 'L', 'K', 'S', 'x', 'g', '1', '2', '5', 'A', '\0'],
];

/** Changes a few places; header checksums are mostly made right again, so that more is read of it. */
export function mutate(tar: Buffer, random: (below: number) => number): Buffer {
  let bytes = Buffer.from(tar);
  for (let count = 1 + random(6); count > 0; count -= 1) {
    const blocks = Math.max(1, Math.floor(bytes.length / 512));
    const block = random(blocks) * 512;
    const [at, length] = FIELDS[random(FIELDS.length)] ?? [0, 1];
    switch (random(8)) {
      case 0:
        bytes[block + random(512)] = random(256);
        break;
      case 1:
        bytes.copy(bytes, random(blocks) * 512, block, block + 512);
        break;
      case 2:
        bytes = bytes.subarray(0, bytes.length - random(Math.min(bytes.length, 2000)));
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, block), bytes.subarray(block + 512)]);
        break;
      default: {
        const value = Buffer.from(VALUES[random(VALUES.length)] ?? '', 'latin1');
        bytes.fill(0, block + at, Math.min(bytes.length, block + at + length));
        value.copy(bytes, block + at, 0, length);
      }
    }
  }
  if (random(10) > 0) repairChecksums(bytes);
  return bytes;
}

function repairChecksums(bytes: Buffer): void {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    const block = bytes.subarray(at, at + 512);
    if (block.toString('latin1', 257, 262) !== 'ustar') continue;
    block.fill(' ', 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  }
}
