/** Fetches one blob into a file, from where it broke off when the network fails. */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { RuntimeError } from '../core/errors.js';
import type { Descriptor } from '../core/oci.js';
import { MOST_RETRIES, pauseBeforeRetry, TransientError } from './retry.js';

/** Bytes of the blob from `offset` on: what was asked for, or 0 from a server that knows no ranges. */
export interface BlobPart {
  offset: number;
  body: AsyncIterable<Uint8Array>;
}

export interface BlobDownload {
  descriptor: Descriptor;
  file: FileHandle;
  fetch: (offset: number) => Promise<BlobPart>;
  signal: AbortSignal;
  onBytes: (doneBytes: number) => void;
}

/** Fills the file. Resolves when its content is verified. */
export async function downloadBlob(download: BlobDownload): Promise<void> {
  const { descriptor, file, fetch, signal, onBytes } = download;
  let hash = createHash('sha256');
  let done = 0;
  let failures = 0;
  for (;;) {
    const before = done;
    try {
      const part = await fetch(done);
      if (part.offset !== done) {
        hash = createHash('sha256');
        done = 0;
      }
      for await (const chunk of whole(part.body, signal)) {
        if (done + chunk.length > descriptor.size) throw wrongSize(descriptor, 'more');
        await writeAll(file, chunk, done);
        hash.update(chunk);
        done += chunk.length;
        onBytes(done);
      }
      if (done === descriptor.size) break;
      throw new TransientError(`blob ${descriptor.digest} broke off after ${done} bytes`);
    } catch (error) {
      if (!(error instanceof TransientError)) throw error;
      // What moves on may go on; only standing still has an end.
      failures = done > before ? 1 : failures + 1;
      if (failures > MOST_RETRIES) throw error;
      await pauseBeforeRetry(failures - 1, error, signal);
    }
  }
  const actual = `sha256:${hash.digest('hex')}`;
  if (actual === descriptor.digest) return;
  throw new RuntimeError(
    'data-loss',
    `blob ${descriptor.digest} came with content of digest ${actual}`,
  );
}

/** The body, with a connection that ends early told apart from everything else that may fail. */
async function* whole(
  body: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]();
  try {
    for (;;) {
      let next: IteratorResult<Uint8Array>;
      try {
        next = await chunks.next();
      } catch (error) {
        if (signal.aborted) throw error;
        throw new TransientError('the connection ended within a blob', error);
      }
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await chunks.return?.();
  }
}

async function writeAll(file: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < chunk.length;) {
    at += (await file.write(chunk, at, chunk.length - at, position + at)).bytesWritten;
  }
}

function wrongSize(descriptor: Descriptor, how: string): RuntimeError {
  return new RuntimeError(
    'data-loss',
    `blob ${descriptor.digest} came with ${how} than ${descriptor.size} bytes`,
  );
}
