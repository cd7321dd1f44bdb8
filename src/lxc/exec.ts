/** One command in a running container, by way of pvecri-exec. */
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RuntimeError, wrap } from '../core/errors.js';
import type { ExecRequest, ExecResult } from '../core/ports.js';
import { encodeExecSpec, failureOf, Message, TAG } from '../core/shim-spec.js';
import type { ProcessSpawner } from '../native/process.js';
import { killLeaf, removeLeaf } from './leaf-cgroup.js';
import { nativeError } from './native-failure.js';
import type { NativePrograms } from './native-programs.js';
import { PipeReader } from './pipe-reader.js';

/** A daemon the command leaves behind may hold its stdout for good: no waiting for that. */
const DRAIN_MS = 1000;
/** A process in an uninterruptible sleep outlives SIGKILL; the caller is answered nevertheless. */
const KILL_MS = 2000;
const MAX_REPORT = 64 * 1024;

export interface ExecContext {
  spawner: ProcessSpawner;
  programs: NativePrograms;
  cgroupRoot: string;
}

/** `initPidfd` is the container's init; it stays the caller's. */
export async function execInContainer(
  context: ExecContext,
  request: ExecRequest,
  initPidfd: number,
): Promise<ExecResult> {
  const subject = `container ${request.id}`;
  if (request.signal?.aborted === true) throw cancelled(request);
  const helper = spawnHelper(context, request, initPidfd);
  const { stdout, stderr, result } = helper;
  const interruption = interrupted(request);
  try {
    const early = await Promise.race([result.ended, interruption.happened]);
    if (early instanceof RuntimeError) {
      helper.kill();
      await Promise.race([result.ended, sleep(KILL_MS, undefined, { ref: false })]);
      if (result.content().length === 0) await endCommand(helper);
      throw early;
    }
    const report = new Message(result.content());
    const failure = failureOf(report);
    if (failure !== undefined) throw nativeError(subject, failure);
    if (!report.has(TAG.waitStatus)) {
      await endCommand(helper);
      throw new RuntimeError(
        'internal',
        `${subject}: the exec helper was killed, and the command with it`,
      );
    }
    await Promise.race([
      Promise.all([stdout.ended, stderr.ended]),
      sleep(DRAIN_MS, undefined, { ref: false }),
    ]);
    return {
      exitCode: exitCode(report.number(TAG.waitStatus)),
      stdout: stdout.content(),
      stderr: stderr.content(),
    };
  } finally {
    interruption.end();
    helper.kill();
    for (const reader of [stdout, stderr, result]) reader.close();
  }
}

interface Helper {
  stdout: PipeReader;
  stderr: PipeReader;
  result: PipeReader;
  /** The command's own cgroup, which the helper makes and removes. */
  cgroup: string;
  /** Hangs up the control pipe: ends the command when it still runs. Idempotent. */
  kill: () => void;
}

/** What the helper would have done: its death signal reaches the command's first process alone. */
async function endCommand(helper: Helper): Promise<void> {
  await killLeaf(helper.cgroup);
  await removeLeaf(helper.cgroup);
}

function spawnHelper(context: ExecContext, request: ExecRequest, initPidfd: number): Helper {
  const { addon } = context.spawner;
  const reads: number[] = [];
  const closing: number[] = [];
  const pipe = (): { read: number; write: number } => {
    const ends = addon.pipe();
    reads.push(ends.read);
    closing.push(ends.write);
    return ends;
  };
  const name = `exec-${randomBytes(8).toString('hex')}`;
  try {
    const spec = addon.memfd(
      'pvecri-exec-spec',
      encodeExecSpec({
        cgroupRoot: context.cgroupRoot,
        cgroup: request.cgroup,
        name,
        // Its stdio are pipes, whatever the container has.
        process: { ...request.process, tty: false },
      }),
    );
    closing.push(spec);
    const [stdout, stderr, result] = [pipe(), pipe(), pipe()];
    const control = addon.pipe();
    closing.push(control.read);
    let open = true;
    const kill = (): void => {
      if (open) closeSync(control.write);
      open = false;
    };
    const program = context.programs.sealed('pvecri-exec');
    try {
      const process = context.spawner.spawn({
        file: '/proc/self/fd/7',
        argv: ['pvecri-exec', request.id],
        env: [],
        fds: [-1, stdout.write, stderr.write, spec, initPidfd, control.read, result.write, program],
      });
      closeSync(process.pidfd);
    } catch (error) {
      kill();
      throw error;
    }
    return {
      stdout: new PipeReader(stdout.read, request.maxOutputBytes),
      stderr: new PipeReader(stderr.read, request.maxOutputBytes),
      result: new PipeReader(result.read, MAX_REPORT),
      cgroup: join(context.cgroupRoot, request.cgroup, name),
      kill,
    };
  } catch (error) {
    for (const fd of reads) closeSync(fd);
    throw wrap(error, `container ${request.id}: cannot start the exec helper`);
  } finally {
    for (const fd of closing) closeSync(fd);
  }
}

/** waitpid's status as a shell would say it. */
function exitCode(waitStatus: number): number {
  const signal = waitStatus & 0x7f;
  return signal === 0 ? waitStatus >> 8 : 128 + signal;
}

function interrupted(request: ExecRequest): { happened: Promise<RuntimeError>; end: () => void } {
  let resolve: (error: RuntimeError) => void = () => undefined;
  const happened = new Promise<RuntimeError>((settle) => {
    resolve = settle;
  });
  const onAbort = (): void => {
    resolve(cancelled(request));
  };
  request.signal?.addEventListener('abort', onAbort, { once: true });
  // setTimeout takes no more than 31 bits, and fires at once for more.
  const limit = Math.min(request.timeoutMs, 2 ** 31 - 1);
  const timer =
    limit === 0
      ? undefined
      : setTimeout(() => {
          resolve(
            new RuntimeError(
              'deadline-exceeded',
              `container ${request.id}: command ${JSON.stringify(request.process.argv[0] ?? '')} did not end within ${limit} ms and was killed`,
            ),
          );
        }, limit);
  return {
    happened,
    end: () => {
      clearTimeout(timer);
      request.signal?.removeEventListener('abort', onAbort);
    },
  };
}

function cancelled(request: ExecRequest): RuntimeError {
  return new RuntimeError(
    'cancelled',
    `container ${request.id}: command was cancelled and killed`,
    request.signal?.reason,
  );
}
