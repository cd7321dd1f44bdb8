/** The files of an OCI image layout, in a folder or in a tar archive of one. */
import { constants, open, type FileHandle } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { hasCode, RuntimeError, wrap } from '../../core/errors.js';
import { indexTar, type TarMember } from './tar-index.js';

const MOST_LINKS = 8;

/** A run of bytes in an open file, which the receiver closes. */
export interface FilePart {
  file: FileHandle;
  offset: number;
  length: number;
}

export interface LayoutFiles {
  /** The folder or archive, for messages. */
  readonly path: string;
  /** undefined when there is no such file. `name` is relative, e.g. `blobs/sha256/…`. */
  open(name: string): Promise<FilePart | undefined>;
}

export class LayoutFolder implements LayoutFiles {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  async open(name: string): Promise<FilePart | undefined> {
    const file = await openRegular(join(this.path, name));
    if (file === undefined) return undefined;
    return { file, offset: 0, length: await sizeOrClose(file) };
  }
}

export class LayoutArchive implements LayoutFiles {
  readonly path: string;
  readonly #members: ReadonlyMap<string, TarMember>;

  readonly #file: string;

  private constructor(file: string, path: string, members: ReadonlyMap<string, TarMember>) {
    this.#file = file;
    this.path = path;
    this.#members = members;
  }

  /** `label` is what messages call it. */
  static async open(path: string, label = path): Promise<LayoutArchive> {
    const file = await openRegular(path);
    if (file === undefined) throw new RuntimeError('not-found', `there is no archive ${label}`);
    try {
      return new LayoutArchive(path, label, await indexTar(file, label));
    } finally {
      await file.close();
    }
  }

  has(name: string): boolean {
    return this.#members.has(name);
  }

  async open(name: string): Promise<FilePart | undefined> {
    const member = this.#resolve(name);
    if (member === undefined) return undefined;
    const file = await openRegular(this.#file);
    if (file === undefined) throw new RuntimeError('not-found', `archive ${this.path} is gone`);
    return { file, offset: member.offset, length: member.size };
  }

  /** Old docker writes a layer that an archive has twice as a link to the first one. */
  #resolve(name: string): TarMember | undefined {
    let member = this.#members.get(name.replace(/^(?:\.?\/)+/, ''));
    for (let links = 0, at = name; member?.link !== undefined; links += 1) {
      if (links === MOST_LINKS) return undefined;
      at = posix.join(posix.dirname(at), member.link);
      member = this.#members.get(at);
    }
    return member;
  }
}

/** A FIFO or device would block or never end: nothing but a regular file is read. */
export async function openRegular(path: string): Promise<FileHandle | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw wrap(error, `cannot open ${path}`, 'failed-precondition');
  }
  try {
    if ((await file.stat()).isFile()) return file;
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  throw new RuntimeError('invalid-argument', `${path} is not a regular file`);
}

async function sizeOrClose(file: FileHandle): Promise<number> {
  try {
    return (await file.stat()).size;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Reads a small file whole. */
export async function readPart(
  part: FilePart,
  what: string,
  maxBytes: number,
): Promise<Uint8Array> {
  if (part.length > maxBytes) {
    throw new RuntimeError('invalid-argument', `${what} is larger than ${maxBytes} bytes`);
  }
  const bytes = Buffer.alloc(part.length);
  let done = 0;
  while (done < part.length) {
    const { bytesRead } = await part.file.read(bytes, done, part.length - done, part.offset + done);
    if (bytesRead === 0) throw new RuntimeError('data-loss', `${what} is truncated`);
    done += bytesRead;
  }
  return bytes;
}
