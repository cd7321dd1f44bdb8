/** An archive of images that comes as a stream: kept in a file while its images are taken out. */
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { wrap } from '../../core/errors.js';
import type { LoadedImage } from '../../core/ports/images.js';
import { writeContent } from '../unpack/content-file.js';
import { readImageArchive } from './image-archive.js';
import type { ArchivedImage } from '../source/image-source.js';
import type { Unpack } from '../unpack/unpack-process.js';

export interface SpoolWork {
  unpack: Unpack;
  temporaryFolder: string;
  signal: AbortSignal;
}

interface Spooled {
  /** An uncompressed archive. */
  path: string;
  remove(): Promise<void>;
}

/** gzip, zstd and xz; what is none of them is taken for an archive. */
const COMPRESSED = ['1f8b', '28b52ffd', 'fd377a58'];

/** Takes out the images one after the other, by `loadOne`, which is told where the archive is. */
export async function loadArchive(
  work: SpoolWork,
  bytes: AsyncIterable<Uint8Array>,
  name: string,
  loadOne: (image: ArchivedImage, path: string) => Promise<LoadedImage>,
): Promise<LoadedImage[]> {
  const spooled = await spoolArchive(work, bytes);
  try {
    const loaded: LoadedImage[] = [];
    for (const image of await readImageArchive(spooled.path, name)) {
      loaded.push(await loadOne(image, spooled.path));
    }
    return loaded;
  } finally {
    await spooled.remove();
  }
}

/** Nothing is left of one that fails. */
async function spoolArchive(work: SpoolWork, bytes: AsyncIterable<Uint8Array>): Promise<Spooled> {
  const path = join(work.temporaryFolder, `archive-${randomUUID()}`);
  const remove = (): Promise<void> => rm(path, { force: true });
  try {
    const file = await open(path, 'wx+', 0o600);
    try {
      let length = 0;
      for await (const chunk of bytes) {
        work.signal.throwIfAborted();
        for (let at = 0; at < chunk.length;) {
          at += (await file.write(chunk, at, chunk.length - at, length + at)).bytesWritten;
        }
        length += chunk.length;
      }
      const magic = Buffer.alloc(4);
      await file.read(magic, 0, 4, 0);
      if (!COMPRESSED.some((hex) => magic.toString('hex').startsWith(hex))) return { path, remove };
      const content = await writeContent(work.unpack, {
        ...work,
        file,
        length,
        diffId: '',
        digest: '',
      });
      await remove();
      return content;
    } finally {
      await file.close();
    }
  } catch (error) {
    await remove();
    throw wrap(error, 'cannot keep the archive while it is loaded');
  }
}
