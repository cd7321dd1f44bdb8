/** Digests of a template's file and of the tar archive in it, which is read once for as long as it stays. */
import { createHash } from 'node:crypto';
import { constants, mkdtemp, open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from '../../util/remove-tree.js';
import type { Unpack } from '../unpack/unpack-process.js';

export interface TemplateDigests {
  /** Of the file as it is. */
  digest: string;
  size: number;
  /** Of the uncompressed archive. */
  diffId: string;
  contentSize: number;
}

const MOST_ENTRIES = 64;
const CHUNK = 1 << 20;

export class TemplateDigestCache {
  readonly #unpack: Unpack;
  readonly #temporary: string;
  readonly #entries = new Map<string, TemplateDigests>();

  constructor(unpack: Unpack, temporaryFolder: string) {
    this.#unpack = unpack;
    this.#temporary = temporaryFolder;
  }

  async of(file: FileHandle, isCompressed: boolean, signal: AbortSignal): Promise<TemplateDigests> {
    const { dev, ino, size, mtimeNs, ctimeNs } = await file.stat({ bigint: true });
    const key = [dev, ino, size, mtimeNs, ctimeNs].join(' ');
    const known = this.#entries.get(key);
    if (known) return known;
    const length = Number(size);
    const [digest, content] = await Promise.all([
      digestOf(file, length, signal),
      isCompressed ? this.#contentOf(file, length, signal) : undefined,
    ]);
    const digests = {
      digest,
      size: length,
      diffId: content?.diffId ?? digest,
      contentSize: content?.bytes ?? length,
    };
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined && this.#entries.size >= MOST_ENTRIES) this.#entries.delete(oldest);
    this.#entries.set(key, digests);
    return digests;
  }

  /** By the confined helper: decompressing is what hostile files are made for. */
  async #contentOf(
    file: FileHandle,
    length: number,
    signal: AbortSignal,
  ): Promise<{ diffId: string; bytes: number }> {
    const folder = await mkdtemp(join(this.#temporary, 'template-'));
    try {
      const target = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        return await this.#unpack({
          diffId: '',
          blobFd: file.fd,
          offset: 0,
          length,
          digest: '',
          targetFd: target.fd,
          allowXz: true,
          hashOnly: true,
          mode: 'overlay',
          signal,
          onBytes: () => undefined,
        });
      } finally {
        await target.close();
      }
    } finally {
      await removeTree(folder);
    }
  }
}

async function digestOf(file: FileHandle, length: number, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const chunk = Buffer.allocUnsafe(CHUNK);
  for (let at = 0; at < length;) {
    signal.throwIfAborted();
    const { bytesRead } = await file.read(chunk, 0, Math.min(CHUNK, length - at), at);
    if (bytesRead === 0) break;
    hash.update(chunk.subarray(0, bytesRead));
    at += bytesRead;
  }
  return `sha256:${hash.digest('hex')}`;
}
