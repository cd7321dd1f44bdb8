/** A file that is written from a stream: whole in the end, or not there. */
import { open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { hasCode } from '../core/errors.js';
import { CommandFailure } from './failure.js';

/** Bytes written. What is no regular file, a FIFO or device, is written to as it is. */
export async function writeOutputFile(
  path: string,
  pieces: AsyncIterable<Uint8Array>,
): Promise<number> {
  if (await isSpecial(path)) return writeTo(path, 'w', path, pieces);
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.part`);
  try {
    const bytes = await writeTo(temporary, 'wx', path, pieces);
    await rename(temporary, path).catch((error: unknown) => {
      throw failure(path, error);
    });
    return bytes;
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function writeTo(
  target: string,
  flags: string,
  path: string,
  pieces: AsyncIterable<Uint8Array>,
): Promise<number> {
  const file = await open(target, flags, 0o644).catch((error: unknown) => {
    throw failure(path, error);
  });
  try {
    let bytes = 0;
    for await (const piece of pieces) {
      await file.writeFile(piece).catch((error: unknown) => {
        throw failure(path, error);
      });
      bytes += piece.length;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

async function isSpecial(path: string): Promise<boolean> {
  try {
    return !(await stat(path)).isFile();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw failure(path, error);
  }
}

function failure(path: string, error: unknown): CommandFailure {
  const why = error instanceof Error ? error.message : String(error);
  const kind = hasCode(error, 'ENOSPC', 'EDQUOT') ? 'resource-exhausted' : 'failed-precondition';
  return new CommandFailure(kind, `cannot write ${path}: ${why}`, error);
}
