/** One command in a running container with its streams, or with a terminal. */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { finished } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TerminalSize } from '../core/model.js';
import type { ExecSession, ExecStreamRequest } from '../core/ports/engine.js';
import type { RuntimeError } from '../core/errors.js';
import { encodeSize } from '../core/attach-frames.js';
import { failureOf, Message, TAG } from '../core/shim-spec.js';
import {
  cancelled,
  endCommand,
  exitCode,
  helperKilled,
  spawnHelper,
  timedOut,
  timerLimit,
  type ExecContext,
  type Helper,
} from './exec-helper.js';
import { nativeError } from './native-failure.js';
import { PipeInput, PipeOutput } from './process-pipes.js';

/** What a command leaves behind may hold its stdout for good: silence so long after its end is the end. */
const SILENCE_MS = 1000;
/** A process in an uninterruptible sleep outlives SIGKILL; whoever waits is told nevertheless. */
const KILL_MS = 2000;

/** `initPidfd` is the container's init; it stays the caller's. */
export async function execStreamInContainer(
  context: ExecContext,
  request: ExecStreamRequest,
  initPidfd: number,
): Promise<ExecSession> {
  const helper = await spawnHelper(context, { ...request, reportStart: true }, initPidfd);
  const session = new HelperSession(request, helper);
  try {
    await session.started;
    return session;
  } catch (error) {
    session.detach();
    // The same error, once the helper is gone.
    await session.exited.catch(() => undefined);
    throw error;
  }
}

class HelperSession implements ExecSession {
  readonly stdin: PipeInput | null;
  readonly stdout: PipeOutput;
  readonly stderr: PipeOutput | null;
  readonly started: Promise<void>;
  readonly exited: Promise<number>;
  readonly #request: ExecStreamRequest;
  readonly #cgroup: string;
  readonly #control: Socket | null;
  readonly #report: HelperReport;
  readonly #closeControl: () => void;
  readonly #timer: NodeJS.Timeout | undefined;
  #interruption: RuntimeError | undefined;
  #size: TerminalSize | undefined;

  constructor(request: ExecStreamRequest, helper: Helper) {
    this.#request = request;
    this.#cgroup = helper.cgroup;
    this.stdin = helper.stdin === null ? null : new PipeInput(helper.stdin);
    this.stdout = new PipeOutput(helper.stdout);
    this.stderr = helper.stderr === null ? null : new PipeOutput(helper.stderr);
    this.#report = new HelperReport(helper.result);
    if (request.process.tty) {
      const control = new Socket({ fd: helper.control, readable: false, writable: true });
      control.on('error', () => control.destroy());
      control.unref();
      this.#control = control;
      this.#closeControl = () => control.destroy();
    } else {
      let open = true;
      this.#control = null;
      this.#closeControl = () => {
        if (open) closeSync(helper.control);
        open = false;
      };
    }
    const limit = timerLimit(request.timeoutMs);
    this.#timer =
      limit === 0
        ? undefined
        : setTimeout(() => {
            this.#interrupt(timedOut(request.id, request.process, limit));
          }, limit);
    this.started = this.#start();
    this.exited = this.#run();
    // Whoever lets go of the session early need not look at either.
    this.started.catch(() => undefined);
    this.exited.catch(() => undefined);
  }

  resize(size: TerminalSize): void {
    const control = this.#control;
    if (control === null || control.destroyed) return;
    const isWaiting = this.#size !== undefined;
    this.#size = size;
    if (isWaiting) return;
    // Of many sizes that come while the helper is busy the last one counts.
    const send = (): void => {
      const next = this.#size;
      if (next === undefined || control.destroyed) return;
      control.write(encodeSize(next), () => {
        if (this.#size === next) this.#size = undefined;
        else send();
      });
    };
    send();
  }

  kill(): void {
    this.#interrupt(cancelled(this.#request.id));
  }

  detach(): void {
    this.stdin?.destroy();
    this.stdout.destroy();
    this.stderr?.destroy();
  }

  #interrupt(error: RuntimeError): void {
    this.#interruption ??= error;
    this.#closeControl();
    this.#report.giveUp(KILL_MS);
  }

  async #start(): Promise<void> {
    await this.#report.first;
    const report = this.#report.message();
    this.#throwFailure(report);
    if (!report.has(TAG.state)) throw this.#interruption ?? helperKilled(this.#request.id);
  }

  async #run(): Promise<number> {
    try {
      await this.#report.ended;
      const report = this.#report.message();
      if (!report.has(TAG.waitStatus) && failureOf(report) === undefined)
        await endCommand(this.#cgroup);
      this.#throwFailure(report);
      if (this.#interruption !== undefined) throw this.#interruption;
      if (!report.has(TAG.waitStatus)) throw helperKilled(this.#request.id);
      await Promise.all(this.#outputs().map(drained));
      return exitCode(report.number(TAG.waitStatus));
    } finally {
      clearTimeout(this.#timer);
      this.#closeControl();
      this.#report.close();
      this.stdin?.destroy();
      for (const output of this.#outputs()) output.finish();
    }
  }

  #throwFailure(report: Message): void {
    const failure = failureOf(report);
    if (failure !== undefined) throw nativeError(`container ${this.#request.id}`, failure);
  }

  #outputs(): PipeOutput[] {
    return this.stderr === null ? [this.stdout] : [this.stdout, this.stderr];
  }
}

/** What the helper tells on its result pipe: first that the command runs, then how it ended. */
class HelperReport {
  /** Something was told, or never will be. */
  readonly first: Promise<void>;
  readonly ended: Promise<void>;
  readonly #socket: Socket;
  #received = Buffer.alloc(0);

  constructor(fd: number) {
    const socket = new Socket({ fd, readable: true, writable: false });
    this.#socket = socket;
    socket.on('error', () => socket.destroy());
    socket.unref();
    this.ended = new Promise((resolve) => {
      socket.once('close', () => {
        resolve();
      });
    });
    this.first = new Promise((resolve) => {
      socket.on('data', (chunk: Buffer) => {
        this.#received = Buffer.concat([this.#received, chunk]);
        resolve();
      });
      socket.once('close', () => {
        resolve();
      });
    });
  }

  message(): Message {
    return new Message(this.#received);
  }

  /** Waits so long at most. */
  giveUp(ms: number): void {
    void Promise.race([this.ended, sleep(ms, undefined, { ref: false })]).then(() => {
      this.close();
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Resolves when the reader has it all, or has left. */
async function drained(output: PipeOutput): Promise<void> {
  const controller = new AbortController();
  const end = finished(output, { writable: false, cleanup: true }).catch(() => undefined);
  void end.then(() => {
    controller.abort();
  });
  const watch = async (): Promise<void> => {
    for (let before = output.progress; !before.over;) {
      await sleep(SILENCE_MS, undefined, { ref: false, signal: controller.signal });
      const now = output.progress;
      if (now.received === before.received && !now.waitsForReader) output.finish();
      before = output.progress;
    }
  };
  watch().catch(() => undefined);
  await end;
}
