/** Fetches one blob into a file, from where it broke off when the network fails. */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { RuntimeError } from '../../core/errors.js';
import type { Descriptor } from '../../core/oci.js';
import { discardBuffer } from './spent-buffer.js';
import { MOST_RETRIES, pauseBeforeRetry, TransientError } from './retry.js';

/** Bytes of the blob from `offset` on: what was asked for, or 0 from a server that knows no ranges. */
export interface BlobPart {
  offset: number;
  body: Readable;
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
      await takeAll(part.body, signal, async (chunk) => {
        if (done + chunk.length > descriptor.size) throw wrongSize(descriptor, 'more');
        await writeAll(file, chunk, done);
        hash.update(chunk);
        done += chunk.length;
        discardBuffer(chunk);
        onBytes(done);
      });
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

/**
 * Gives the body to `take` in the pieces in which it came: an iterator would join what has piled up,
 * which is a copy of everything. A connection that ends early is told apart from all else that may fail.
 */
async function takeAll(
  body: Readable,
  signal: AbortSignal,
  take: (chunk: Buffer) => Promise<void>,
): Promise<void> {
  let taking = Promise.resolve();
  body.on('data', (chunk: Buffer) => {
    body.pause();
    taking = take(chunk);
    taking.then(
      () => body.resume(),
      (error: unknown) => body.destroy(error instanceof Error ? error : new Error(String(error))),
    );
  });
  try {
    await finished(body, { writable: false });
  } catch (error) {
    // What `take` has failed with comes back from here.
    await taking;
    if (signal.aborted) throw error;
    throw new TransientError('the connection ended within a blob', error);
  }
  await taking;
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
