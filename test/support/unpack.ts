/** The real unpack helper on a folder of a test's own. */
import { closeSync, mkdirSync, openSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createUnpack, type UnpackLimits } from '../../src/images/unpack-process.js';
import type { UnpackMode, UnpackReport } from '../../src/core/ports.js';
import { loadAddon } from '../../src/native/binding.js';
import { ProcessSpawner } from '../../src/native/process.js';
import { digestOf } from './oci-image.js';
import { makeTar, type TarEntry } from './tar.js';

export interface UnpackTry {
  layer: TarEntry[] | Buffer;
  /** The blob, when it is not the layer itself. */
  blob?: Buffer;
  diffId?: string;
  digest?: string;
  length?: number;
  allowXz?: boolean;
  mode?: UnpackMode;
  /** Below `temp`, with its parents. */
  target?: string;
  limits?: UnpackLimits;
  signal?: AbortSignal;
}

/** Unpacks into `<temp>/outer/fs` unless told otherwise; what an escape could reach lies in `<temp>/outer` and above. */
export async function unpackLayer(temp: string, options: UnpackTry): Promise<UnpackReport> {
  const tar = Buffer.isBuffer(options.layer) ? options.layer : makeTar(options.layer);
  const target = join(temp, options.target ?? 'outer/fs');
  mkdirSync(target, { recursive: true });
  const blob = join(temp, 'blob');
  writeFileSync(blob, options.blob ?? tar);
  const spawner = new ProcessSpawner(loadAddon());
  const blobFd = openSync(blob, 'r');
  const targetFd = openSync(target, 'r');
  try {
    return await createUnpack(
      spawner,
      undefined,
      options.limits,
    )({
      diffId: options.diffId ?? digestOf(tar),
      blobFd,
      offset: 0,
      length: options.length ?? statSync(blob).size,
      digest: options.digest ?? '',
      targetFd,
      mode: options.mode ?? 'overlay',
      allowXz: options.allowXz ?? false,
      signal: options.signal ?? new AbortController().signal,
      onBytes: () => undefined,
    });
  } finally {
    closeSync(blobFd);
    closeSync(targetFd);
    spawner.close();
  }
}
