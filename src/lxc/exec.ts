/** One command in a running container, by way of pvecri-exec. */
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { RuntimeError } from '../core/errors.js';
import type { ExecRequest, ExecResult } from '../core/ports/engine.js';
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
} from './exec-helper.js';
import { nativeError } from './native-failure.js';
import { PipeReader, SharedRoom } from './pipe-reader.js';

/** A daemon the command leaves behind may hold its stdout for good: no waiting for that. */
const DRAIN_MS = 1000;
/** A process in an uninterruptible sleep outlives SIGKILL; the caller is answered nevertheless. */
const KILL_MS = 2000;
const MAX_REPORT = 64 * 1024;
/** Of all commands' output that is kept at a time: pods say how many probes run at once, and what they print. */
const KEPT = new SharedRoom(256 << 20);

/** `initPidfd` is the container's init; it stays the caller's. */
export async function execInContainer(
  context: ExecContext,
  request: ExecRequest,
  initPidfd: number,
): Promise<ExecResult> {
  if (request.signal?.aborted === true) throw cancelled(request.id, request.signal.reason);
  const helper = await spawnHelper(
    context,
    // Its stdio are pipes, whatever the container has.
    {
      ...request,
      process: { ...request.process, tty: false },
      stdin: false,
      reportStart: false,
      size: null,
    },
    initPidfd,
  );
  const stdout = new PipeReader(helper.stdout, request.maxOutputBytes, KEPT);
  const stderr = new PipeReader(helper.stderr ?? -1, request.maxOutputBytes, KEPT);
  const result = new PipeReader(helper.result, MAX_REPORT);
  let open = true;
  const kill = (): void => {
    if (open) closeSync(helper.control);
    open = false;
  };
  const interruption = interrupted(request);
  try {
    const early = await Promise.race([result.ended, interruption.happened]);
    if (early instanceof RuntimeError) {
      kill();
      await Promise.race([result.ended, sleep(KILL_MS, undefined, { ref: false })]);
      if (result.content().length === 0) await endCommand(helper.cgroup);
      throw early;
    }
    const report = new Message(result.content());
    const failure = failureOf(report);
    if (failure !== undefined) throw nativeError(`container ${request.id}`, failure);
    if (!report.has(TAG.waitStatus)) {
      await endCommand(helper.cgroup);
      throw helperKilled(request.id);
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
    kill();
    for (const reader of [stdout, stderr, result]) reader.close();
  }
}

function interrupted(request: ExecRequest): { happened: Promise<RuntimeError>; end: () => void } {
  let resolve: (error: RuntimeError) => void = () => undefined;
  const happened = new Promise<RuntimeError>((settle) => {
    resolve = settle;
  });
  const onAbort = (): void => {
    resolve(cancelled(request.id, request.signal?.reason));
  };
  request.signal?.addEventListener('abort', onAbort, { once: true });
  const limit = timerLimit(request.timeoutMs);
  const timer =
    limit === 0
      ? undefined
      : setTimeout(() => {
          resolve(timedOut(request.id, request.process, limit));
        }, limit);
  return {
    happened,
    end: () => {
      clearTimeout(timer);
      request.signal?.removeEventListener('abort', onAbort);
    },
  };
}
