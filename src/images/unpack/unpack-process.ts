/** Runs the confined helper that turns a compressed layer into files. */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { getSystemErrorName } from 'node:util';
import type { ErrorKind } from '../../core/errors.js';
import { EDQUOT, RuntimeError, wrap } from '../../core/errors.js';
import type { UnpackMode, UnpackReport } from '../../core/ports/storage.js';
import { libexecDir } from '../../native/binding.js';
import type { ExitStatus } from '../../native/binding.js';
import type { ProcessSpawner } from '../../native/process.js';
import type { BlobArrival } from './blob-arrival.js';

export interface UnpackJob {
  /** Digest of the content, '' when it is not known beforehand: the report has it. */
  diffId: string;
  /** Descriptor of a file that holds the blob, and where in it. */
  blobFd: number;
  offset: number;
  length: number;
  /** For a blob that is still coming. */
  arrival?: BlobArrival;
  /** Digest of the blob for the helper to compare, '' when it has been compared. */
  digest: string;
  /** Descriptor of the folder to fill or to change. */
  targetFd: number;
  /** Templates may be compressed by xz, image layers may not. */
  allowXz?: boolean;
  /** The content becomes the file `content` of the target folder, as it is. */
  asFile?: boolean;
  /** Nothing is unpacked: the report has digest and size of the content, the folder stays empty. */
  hashOnly?: boolean;
  mode: UnpackMode;
  signal: AbortSignal;
  onBytes: (doneBytes: number) => void;
}

/** What one layer may become; what is left out has the helper's default (native/unpack/options.h). */
export interface UnpackLimits {
  maxBytes?: number;
  maxEntries?: number;
  /** How many times its own size a layer may unpack to, above `ratioFloor` bytes. */
  maxRatio?: number;
  ratioFloor?: number;
}

/** Rejects with the helper's own words; everything written so far is the caller's to remove. */
export type Unpack = (job: UnpackJob) => Promise<UnpackReport>;

/** What the helper has said (native/unpack/report.h). */
interface Said {
  figures: ReadonlyMap<string, number>;
  diffId: string;
  isDone: boolean;
  error: RuntimeError | null;
  /** Lines that are none of a report: a library's last words. */
  noise: string;
}

const SIGKILL = 9;
/** Names, link counts and attributes that no honest layer has. */
const DISHONEST = ['ELOOP', 'ENAMETOOLONG', 'EMLINK', 'EINVAL', 'ERANGE', 'E2BIG'];

export function createUnpack(
  spawner: ProcessSpawner,
  helper = join(libexecDir(), 'pvecri-unpack'),
  limits: UnpackLimits = {},
): Unpack {
  return async (job) => {
    job.signal.throwIfAborted();
    const report = spawner.addon.pipe();
    const arrival = job.arrival?.hasEnded === false ? spawner.addon.pipe() : undefined;
    let child;
    try {
      child = await spawner.spawn({
        file: helper,
        argv: argumentsOf(job, limits, arrival !== undefined),
        env: [],
        fds: [job.blobFd, arrival?.read ?? -1, report.write, job.targetFd, report.write],
      });
    } catch (error) {
      closeSync(report.read);
      if (arrival) closeSync(arrival.write);
      throw wrap(error, `cannot run ${helper}`);
    } finally {
      closeSync(report.write);
      if (arrival) closeSync(arrival.read);
    }
    if (arrival) job.arrival?.connect(arrival.write);
    const { pidfd } = child;
    const onAbort = (): void => {
      try {
        spawner.addon.pidfdSignal(pidfd, SIGKILL);
      } catch {
        // ESRCH: it has ended by itself just now.
      }
    };
    job.signal.addEventListener('abort', onAbort, { once: true });
    // Waiting for a process's end does not keep Node alive by itself.
    const awake = setInterval(() => undefined, 2 ** 30);
    try {
      // The report ends when the helper and its child do; the helper's status comes with it.
      const said = await readReport(report.read, job);
      const status = await child.exited;
      job.signal.throwIfAborted();
      return concludeUnpack(job, said, status);
    } finally {
      clearInterval(awake);
      job.arrival?.disconnect();
      job.signal.removeEventListener('abort', onAbort);
      closeSync(pidfd);
    }
  };
}

function argumentsOf(job: UnpackJob, limits: UnpackLimits, isFollowing: boolean): string[] {
  const options = {
    'diff-id': job.diffId === '' ? undefined : job.diffId,
    offset: job.offset,
    length: job.length,
    follow: isFollowing ? job.arrival?.step : undefined,
    digest: job.digest === '' ? undefined : job.digest,
    'max-bytes': limits.maxBytes,
    'max-entries': limits.maxEntries,
    'max-ratio': limits.maxRatio,
    'ratio-floor': limits.ratioFloor,
  };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const flags = [
    ...(job.mode === 'apply' ? ['--apply'] : []),
    ...(job.allowXz === true ? ['--allow-xz'] : []),
    ...(job.asFile === true ? ['--as-file'] : []),
    ...(job.hashOnly === true ? ['--hash-only'] : []),
  ];
  return [
    'pvecri-unpack',
    ...flags,
    ...given.flatMap(([name, value]) => [`--${name}`, `${value ?? ''}`]),
  ];
}

async function readReport(fd: number, job: UnpackJob): Promise<Said> {
  const figures = new Map<string, number>();
  const said: Said = { figures, diffId: '', isDone: false, error: null, noise: '' };
  const socket = new Socket({ fd, readable: true, writable: false });
  try {
    for await (const line of createInterface({ input: socket, crlfDelay: Infinity })) {
      const [word, number] = line.split(' ', 2);
      if (line === 'done') said.isDone = true;
      else if (word === 'error') said.error ??= parseError(line, job);
      else if (word === 'diff-id') said.diffId = number ?? '';
      else if (word === 'progress') job.onBytes(Number(number));
      else if (/^[a-z-]+ \d+$/.test(line)) figures.set(word ?? '', Number(number));
      else said.noise = `${said.noise} ${line}`.slice(0, 1000);
    }
  } finally {
    socket.destroy();
  }
  return said;
}

function nameOf({ diffId }: UnpackJob): string {
  return diffId === '' ? 'the archive' : `layer ${diffId}`;
}

/** `error CAUSE ERRNO MESSAGE` */
function parseError(line: string, job: UnpackJob): RuntimeError {
  const [, cause, errno, message] = /^error (\w+) (\d+) (.*)$/.exec(line) ?? [];
  const text = `cannot unpack ${nameOf(job)}: ${message ?? line}`;
  return new RuntimeError(kindOf(cause ?? '', Number(errno ?? 0)), text);
}

function kindOf(cause: string, errno: number): ErrorKind {
  switch (cause) {
    case 'corrupt':
    case 'digest':
      return 'data-loss';
    case 'refused':
      return 'invalid-argument';
    case 'limit':
      return 'resource-exhausted';
    default: {
      const name = errno > 0 ? getSystemErrorName(-errno) : '';
      if (errno === EDQUOT || ['ENOSPC', 'ENOMEM'].includes(name)) return 'resource-exhausted';
      if (DISHONEST.includes(name)) return 'invalid-argument';
      return name === 'EROFS' ? 'failed-precondition' : 'internal';
    }
  }
}

function concludeUnpack(job: UnpackJob, said: Said, status: ExitStatus | null): UnpackReport {
  if (said.error) throw said.error;
  if (!said.isDone || status?.code !== 0) {
    const end = status?.code === null ? `signal ${status.signal}` : `status ${status?.code}`;
    throw new RuntimeError(
      'internal',
      `cannot unpack ${nameOf(job)}: the helper ended with ${end}${said.noise && `:${said.noise}`}`,
    );
  }
  const figure = (name: string): number => said.figures.get(name) ?? 0;
  return {
    diffId: said.diffId,
    bytes: figure('bytes'),
    inodes: figure('inodes'),
    rootOpaque: figure('root-opaque') === 1,
    rootOwner: said.figures.has('root-mode')
      ? { mode: figure('root-mode'), uid: figure('root-uid'), gid: figure('root-gid') }
      : null,
  };
}
