/** Where the members of an uncompressed tar archive lie in its file. */
import type { FileHandle } from 'node:fs/promises';
import { RuntimeError } from '../../core/errors.js';

export interface TarMember {
  offset: number;
  size: number;
  /** Of a symbolic link: what it points to, relative to its own folder. */
  link?: string;
}

const BLOCK = 512;
const MOST_MEMBERS = 100_000;

/**
 * Reads the headers alone. Names of a layout are short, so neither pax nor GNU long names matter: such
 * an extension's own header is skipped, and the member it belongs to is one we never ask for. A size
 * in a pax header would be a member of 8 GiB or more, which GNU's base-256 form is read for as well.
 */
export async function indexTar(
  file: FileHandle,
  path: string,
  isLast: (name: string) => boolean = () => false,
): Promise<ReadonlyMap<string, TarMember>> {
  const { size: end } = await file.stat();
  const members = new Map<string, TarMember>();
  const header = Buffer.alloc(BLOCK);
  let paxSize: number | undefined;
  for (let at = 0; at < end;) {
    if (at + BLOCK > end) throw noTar(path, at);
    await file.read(header, 0, BLOCK, at);
    if (header.every((byte) => byte === 0)) break;
    if (!hasRightChecksum(header)) throw noTar(path, at);
    const type = String.fromCharCode(header[156] ?? 0);
    let size = readNumber(header.subarray(124, 136));
    if (type === 'x') {
      paxSize = await readPaxSize(file, at + BLOCK, size);
    } else {
      size = paxSize ?? size;
      paxSize = undefined;
    }
    at += BLOCK;
    if (!Number.isSafeInteger(size) || size < 0 || at + size > end) throw noTar(path, at);
    if (type === '0' || type === '\0' || type === '7')
      members.set(readName(header), { offset: at, size });
    if (type === '2')
      members.set(readName(header), { offset: at, size: 0, link: readField(header, 157, 257) });
    if (!'xgLK'.includes(type) && isLast(readName(header))) break;
    if (members.size > MOST_MEMBERS) {
      throw new RuntimeError('invalid-argument', `${path} has more than ${MOST_MEMBERS} members`);
    }
    at += Math.ceil(size / BLOCK) * BLOCK;
  }
  return members;
}

/** What is in a layout or in what `docker save` writes, old or new. */
const LAYOUT_NAME =
  /^(?:|blobs\/?.*|oci-layout|index\.json|manifest\.json|repositories|[0-9a-f]{64}(?:\.json|\.tar|\/.*)?)$/;

/** Whether all members are a layout's; ends at the first of a root file system. */
export async function isLayoutArchive(file: FileHandle, path: string): Promise<boolean> {
  const foreign: string[] = [];
  const members = await indexTar(file, path, (name) => {
    if (!LAYOUT_NAME.test(name)) foreign.push(name);
    return foreign.length > 0;
  });
  return foreign.length === 0 && (members.has('index.json') || members.has('manifest.json'));
}

/** The sum of all bytes with the checksum's own field taken as spaces (tar(5)). */
function hasRightChecksum(header: Buffer): boolean {
  let sum = 8 * 0x20;
  header.forEach((byte, at) => {
    if (at < 148 || at >= 156) sum += byte;
  });
  return readNumber(header.subarray(148, 156)) === sum;
}

function readField(header: Buffer, from: number, to: number): string {
  const bytes = header.subarray(from, to);
  const zero = bytes.indexOf(0);
  return bytes.toString('latin1', 0, zero < 0 ? bytes.length : zero);
}

function readName(header: Buffer): string {
  // The prefix field is POSIX's; GNU puts times there, and its magic ends in spaces.
  const isPosix = readField(header, 257, 263) === 'ustar';
  const prefix = isPosix ? readField(header, 345, 500) : '';
  const name = prefix === '' ? readField(header, 0, 100) : `${prefix}/${readField(header, 0, 100)}`;
  return name.replace(/^(?:\.?\/)+/, '');
}

/** Octal digits, or base 256 when the first bit is set. */
function readNumber(field: Buffer): number {
  const first = field[0] ?? 0;
  if ((first & 0x80) !== 0) {
    return field.subarray(1).reduce((sum, byte) => sum * 256 + byte, first & 0x7f);
  }
  const digits = /^[ ]*([0-7]*)[ \0]*$/.exec(field.toString('latin1'))?.[1];
  return digits === undefined ? Number.NaN : Number.parseInt(digits || '0', 8);
}

/** `LENGTH size=NUMBER\n` among the records of a pax header. */
async function readPaxSize(
  file: FileHandle,
  offset: number,
  length: number,
): Promise<number | undefined> {
  if (length > 64 * 1024) return undefined;
  const records = Buffer.alloc(length);
  await file.read(records, 0, length, offset);
  const found = /(?:^|\n)\d+ size=(\d+)\n/.exec(records.toString('latin1'))?.[1];
  return found === undefined ? undefined : Number(found);
}

function noTar(path: string, at: number): RuntimeError {
  return new RuntimeError(
    'invalid-argument',
    `${path} is no sound tar archive at byte ${at} (a compressed one must be uncompressed first)`,
  );
}
