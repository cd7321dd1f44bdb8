/** The one way the agent runs other programs: spawned by the addon, watched by one thread. */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { RuntimeError } from '../core/errors.js';
import type { ExitStatus, ExitWatcher, NativeAddon, SpawnOptions } from './binding.js';

export interface SpawnedProcess {
  pid: number;
  /** The caller's to close. */
  pidfd: number;
  /** How it ended; null when the spawner was closed first. Never rejects. */
  exited: Promise<ExitStatus | null>;
}

/** Spawns programs and learns of their end, and of the end of processes spawned by an earlier agent. */
export class ProcessSpawner {
  readonly #addon: NativeAddon;
  readonly #watcher: ExitWatcher;
  readonly #waiting = new Map<number, (status: ExitStatus | null) => void>();
  #nextToken = 0;
  #closed = false;

  constructor(addon: NativeAddon) {
    this.#addon = addon;
    this.#watcher = new addon.ExitWatcher((token, status) => {
      const settle = this.#waiting.get(token);
      this.#waiting.delete(token);
      settle?.(status);
    });
  }

  get addon(): NativeAddon {
    return this.#addon;
  }

  /** Rejects with a SystemError when the program cannot run. Waiting does not keep the agent alive. */
  async spawn(options: SpawnOptions): Promise<SpawnedProcess> {
    const { pid, pidfd } = await this.#addon.spawn(options);
    // Closed meanwhile: it goes on, as those do that were there before.
    if (this.#closed) return { pid, pidfd, exited: Promise.resolve(null) };
    try {
      return { pid, pidfd, exited: this.watch(pidfd) };
    } catch (error) {
      // Nobody could ever reap it or know that it runs.
      this.#addon.pidfdSignal(pidfd, SIGKILL);
      closeSync(pidfd);
      throw error;
    }
  }

  /** The end of any process; null for one that is not our child. The descriptor may be closed at once. */
  watch(pidfd: number): Promise<ExitStatus | null> {
    const token = this.#nextToken;
    this.#nextToken += 1;
    this.#watcher.add(pidfd, token);
    return new Promise((resolve) => this.#waiting.set(token, resolve));
  }

  /** Idempotent. The processes go on. */
  close(): void {
    this.#closed = true;
    this.#watcher.close();
    for (const settle of this.#waiting.values()) settle(null);
    this.#waiting.clear();
  }
}

export interface RunOptions {
  /** Absolute path: there is no search. */
  file: string;
  /** argv[0] included. */
  argv: string[];
  /** `KEY=value`; nothing is inherited. */
  env: string[];
  cwd?: string;
  cgroupFd?: number;
  /** What it reads on stdin; without it stdin is /dev/null. */
  input?: Uint8Array | string;
  /** Descriptors 3, 4, … of the program; they stay the caller's. */
  extraFds?: number[];
  /** After this its process group gets SIGKILL. 0 or absent for no limit. */
  timeoutMs?: number;
  /** Each of stdout and stderr is cut here; what comes after is read and thrown away. */
  maxOutputBytes?: number;
  signal?: AbortSignal;
}

export interface RunResult {
  status: ExitStatus;
  stdout: Buffer;
  stderr: Buffer;
  /** True when more came than maxOutputBytes. */
  truncated: boolean;
}

const SIGKILL = 9;
const DEFAULT_MAX_OUTPUT = 1024 * 1024;
/** A daemon that the program leaves behind may hold its stdout for good: no waiting for that. */
const DRAIN_MS = 1000;
/** A process in an uninterruptible sleep outlives SIGKILL: its caller is answered nevertheless. */
const KILL_MS = 2000;

/**
 * Runs a program to its end. Rejects with a SystemError when it cannot run, with deadline-exceeded
 * after the time limit, with cancelled after an abort; any exit status resolves.
 */
export async function runProcess(spawner: ProcessSpawner, options: RunOptions): Promise<RunResult> {
  if (options.signal?.aborted === true) throw cancelled(options);
  const limit = options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT;
  const child = await startWithPipes(spawner, options);
  const stdout = new Collector(child.stdout, limit);
  const stderr = new Collector(child.stderr, limit);
  const interruption = new Interruption(options);
  try {
    if (child.stdin !== null) feed(child.stdin, options.input ?? '');
    const status = await Promise.race([child.process.exited, interruption.happened]);
    if (status instanceof RuntimeError) {
      await stop(child.process);
      throw status;
    }
    if (status === null)
      throw new RuntimeError('aborted', `${options.file} was left running: the agent stops`);
    const drained = Promise.all([stdout.ended, stderr.ended]);
    const cut = await within(DRAIN_MS, Promise.race([drained, interruption.happened]));
    if (cut instanceof RuntimeError) throw cut;
    return {
      status,
      stdout: stdout.content(),
      stderr: stderr.content(),
      truncated: stdout.truncated || stderr.truncated,
    };
  } finally {
    interruption.end();
    child.stdin?.destroy();
    child.stdout.destroy();
    child.stderr.destroy();
    closeSync(child.process.pidfd);
  }
}

interface PipedProcess {
  process: SpawnedProcess;
  stdin: Socket | null;
  stdout: Socket;
  stderr: Socket;
}

/** On failure every descriptor made here is closed. */
async function startWithPipes(spawner: ProcessSpawner, options: RunOptions): Promise<PipedProcess> {
  const open: number[] = [];
  const pipe = (): { read: number; write: number } => {
    const ends = spawner.addon.pipe();
    open.push(ends.read, ends.write);
    return ends;
  };
  const close = (fd: number): void => {
    open.splice(open.indexOf(fd), 1);
    closeSync(fd);
  };
  try {
    const input = options.input === undefined ? null : pipe();
    const output = pipe();
    const errors = pipe();
    const child = await spawner.spawn({
      file: options.file,
      argv: options.argv,
      env: options.env,
      fds: [input?.read ?? -1, output.write, errors.write, ...(options.extraFds ?? [])],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.cgroupFd === undefined ? {} : { cgroupFd: options.cgroupFd }),
    });
    if (input !== null) close(input.read);
    close(output.write);
    close(errors.write);
    return {
      process: child,
      stdin:
        input === null ? null : new Socket({ fd: input.write, readable: false, writable: true }),
      stdout: new Socket({ fd: output.read, readable: true, writable: false }),
      stderr: new Socket({ fd: errors.read, readable: true, writable: false }),
    };
  } catch (error) {
    for (const fd of open) closeSync(fd);
    throw error;
  }
}

function feed(stdin: Socket, input: Uint8Array | string): void {
  // EPIPE: the program need not read its input.
  stdin.on('error', () => stdin.destroy());
  stdin.end(input);
}

/** What came out of a pipe, up to a limit. */
class Collector {
  readonly ended: Promise<void>;
  truncated = false;
  readonly #chunks: Buffer[] = [];
  #room: number;

  constructor(socket: Socket, limit: number) {
    this.#room = limit;
    socket.on('data', (chunk: Buffer) => {
      this.#take(chunk);
    });
    this.ended = new Promise((resolve) => {
      socket.once('close', () => {
        resolve();
      });
    });
    // 'close' follows; a pipe whose read fails has ended all the same.
    socket.on('error', () => socket.destroy());
  }

  content(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  #take(chunk: Buffer): void {
    if (chunk.length > this.#room) this.truncated = true;
    if (this.#room > 0) this.#chunks.push(chunk.subarray(0, this.#room));
    this.#room = Math.max(0, this.#room - chunk.length);
  }
}

/** The time limit and the abort signal, whichever comes first; also keeps the agent alive meanwhile. */
class Interruption {
  readonly happened: Promise<RuntimeError>;
  readonly #timer: NodeJS.Timeout;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: () => void;

  constructor(options: RunOptions) {
    // setTimeout takes no more than 31 bits, and fires at once for more.
    const limit = Math.min(options.timeoutMs ?? 0, 2 ** 31 - 1);
    let interrupt: (error: RuntimeError) => void = () => undefined;
    this.happened = new Promise((resolve) => {
      interrupt = resolve;
    });
    this.#timer =
      limit > 0
        ? setTimeout(() => {
            interrupt(
              new RuntimeError(
                'deadline-exceeded',
                `${options.file} did not end within ${limit} ms`,
              ),
            );
          }, limit)
        : setInterval(() => undefined, 2 ** 30);
    this.#signal = options.signal;
    this.#onAbort = () => {
      interrupt(cancelled(options));
    };
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}

/** The program leads a session and a process group of its own, so its children go with it. */
async function stop(child: SpawnedProcess): Promise<void> {
  try {
    process.kill(-child.pid, SIGKILL);
  } catch {
    // ESRCH: it ended by itself just now.
  }
  await within(KILL_MS, child.exited);
}

function cancelled(options: RunOptions): RuntimeError {
  return new RuntimeError('cancelled', `${options.file} was cancelled`, options.signal?.reason);
}

/** What a promise resolves to, or null after a time. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(resolve, ms, null);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
