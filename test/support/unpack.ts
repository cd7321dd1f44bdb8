/** The real unpack helper on a folder of a test's own. */
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createUnpack, type UnpackLimits } from '../../src/images/unpack/unpack-process.js';
import { RuntimeError } from '../../src/core/errors.js';
import type { UnpackMode, UnpackReport } from '../../src/core/ports/storage.js';
import { libexecDir, loadAddon } from '../../src/native/binding.js';
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
  /** Another program than the helper. */
  helper?: string;
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
    const unpack = createUnpack(spawner, options.helper, options.limits);
    return await unpack({
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

/** Notes the peak of the helper's two processes, as wait4 tells it. */
const MEASURE = `#!/usr/bin/python3
import os, resource, sys
code = os.spawnv(os.P_WAIT, sys.argv[0] + ".helper", sys.argv)
with open(sys.argv[0] + ".peak", "w") as peak:
    peak.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
`;

export interface MeasuredUnpack {
  outcome: UnpackReport | RuntimeError;
  peakMiB: number;
}

export async function measureUnpack(temp: string, options: UnpackTry): Promise<MeasuredUnpack> {
  const helper = join(temp, 'measure');
  writeFileSync(helper, MEASURE, { mode: 0o755 });
  rmSync(`${helper}.helper`, { force: true });
  symlinkSync(join(libexecDir(), 'pvecri-unpack'), `${helper}.helper`);
  let outcome: UnpackReport | RuntimeError;
  try {
    outcome = await unpackLayer(temp, { ...options, helper });
  } catch (error) {
    if (!(error instanceof RuntimeError)) throw error;
    outcome = error;
  }
  return { outcome, peakMiB: Number(readFileSync(`${helper}.peak`, 'utf8')) / 1024 };
}
