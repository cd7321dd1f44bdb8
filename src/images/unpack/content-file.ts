/** Decompresses a blob into a file of its own, by the confined helper. */
import { constants, mkdtemp, open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from '../../util/remove-tree.js';
import type { Unpack } from './unpack-process.js';

export interface ContentFile {
  path: string;
  size: number;
  /** `sha256:…` of the content. */
  digest: string;
  remove(): Promise<void>;
}

export interface ContentJob {
  file: FileHandle;
  length: number;
  /** What the content must be, '' for anything. */
  diffId: string;
  /** What the file must be, '' when that is known. */
  digest: string;
  temporaryFolder: string;
  signal: AbortSignal;
}

/** Nothing is left of one that fails. */
export async function writeContent(unpack: Unpack, job: ContentJob): Promise<ContentFile> {
  const folder = await mkdtemp(join(job.temporaryFolder, 'content-'));
  const remove = (): Promise<void> => removeTree(folder);
  try {
    const target = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const { diffId } = await unpack({
        diffId: job.diffId,
        blobFd: job.file.fd,
        offset: 0,
        length: job.length,
        digest: job.digest,
        targetFd: target.fd,
        allowXz: true,
        asFile: true,
        mode: 'overlay',
        signal: job.signal,
        onBytes: () => undefined,
      });
      const path = join(folder, 'content');
      const file = await open(path, 'r');
      const { size } = await file.stat().finally(() => file.close());
      return { path, size, digest: diffId, remove };
    } finally {
      await target.close();
    }
  } catch (error) {
    await remove();
    throw error;
  }
}
