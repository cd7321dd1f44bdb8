/** The bytes of a tar archive around its members' contents: POSIX ustar, the same every time. */

const BLOCK = 512;
/** Eleven octal digits; from there on GNU's base 256, which every reader knows. */
const MOST_OCTAL = 8 ** 11;

/** `name` has at most 100 bytes of ASCII. */
export function tarHeader(name: string, size: number): Buffer {
  if (!/^[\x20-\x7e]{1,100}$/.test(name)) throw new TypeError(`no name for a member: ${name}`);
  const header = Buffer.alloc(BLOCK);
  header.write(name, 0, 'latin1');
  header.write('0000644\0', 100, 'latin1');
  header.write('0000000\0', 108, 'latin1');
  header.write('0000000\0', 116, 'latin1');
  writeSize(header, size);
  header.write('00000000000\0', 136, 'latin1');
  header.write('0', 156, 'latin1');
  header.write('ustar\0', 257, 'latin1');
  header.write('00', 263, 'latin1');
  // The checksum counts itself as eight blanks (tar(5)).
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

/** What fills a member's last block. */
export function tarPadding(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
}

/** The end of an archive. */
export const TAR_END = Buffer.alloc(2 * BLOCK);

function writeSize(header: Buffer, size: number): void {
  if (size < MOST_OCTAL) {
    header.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
    return;
  }
  header.writeBigUInt64BE(BigInt(size), 128);
  header[124] = 0x80;
}
