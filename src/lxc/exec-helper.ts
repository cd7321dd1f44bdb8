/** Starts pvecri-exec, which enters the container and runs one command there. */
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { RuntimeError, wrap } from '../core/errors.js';
import type { ContainerId } from '../core/ids.js';
import type { ProcessSpec, TerminalSize, UserNamespace } from '../core/model.js';
import { encodeExecSpec } from '../core/shim-spec.js';
import type { ProcessSpawner } from '../native/process.js';
import { killLeaf, removeLeaf } from './leaf-cgroup.js';
import type { NativePrograms } from './native-programs.js';

export interface ExecContext {
  spawner: ProcessSpawner;
  programs: NativePrograms;
  cgroupRoot: string;
}

export interface HelperRequest {
  id: ContainerId;
  /** The container's outer cgroup. */
  cgroup: string;
  userNamespace: UserNamespace | null;
  process: ProcessSpec;
  stdin: boolean;
  reportStart: boolean;
  size: TerminalSize | null;
}

/** Our ends of the helper's pipes; the caller's to close. */
export interface Helper {
  stdin: number | null;
  stdout: number;
  /** null for a terminal. */
  stderr: number | null;
  result: number;
  /** Takes window sizes of a terminal. Its hang-up ends the command when it still runs. */
  control: number;
  /** The command's own cgroup, which the helper makes and removes. */
  cgroup: string;
}

/** `initPidfd` is the container's init; it stays the caller's. On failure everything is closed. */
export async function spawnHelper(
  context: ExecContext,
  request: HelperRequest,
  initPidfd: number,
): Promise<Helper> {
  const { addon } = context.spawner;
  const ours: number[] = [];
  const theirs: number[] = [];
  const input = (): { ours: number; theirs: number } => {
    const { read, write } = addon.pipe();
    ours.push(write);
    theirs.push(read);
    return { ours: write, theirs: read };
  };
  const output = (): { ours: number; theirs: number } => {
    const { read, write } = addon.pipe();
    ours.push(read);
    theirs.push(write);
    return { ours: read, theirs: write };
  };
  const name = `exec-${randomBytes(8).toString('hex')}`;
  try {
    const { stdin: hasStdin, process, reportStart, size } = request;
    const { cgroupRoot } = context;
    const spec = addon.memfd(
      'pvecri-exec-spec',
      encodeExecSpec({
        cgroupRoot,
        cgroup: request.cgroup,
        name,
        userNamespace: request.userNamespace,
        process,
        stdin: hasStdin,
        reportStart,
        size,
      }),
    );
    theirs.push(spec);
    const stdin = hasStdin ? input() : null;
    const stdout = output();
    const stderr = process.tty ? null : output();
    const control = input();
    const result = output();
    const spawned = await context.spawner.spawn({
      file: '/proc/self/fd/7',
      argv: ['pvecri-exec', request.id],
      env: [],
      fds: [
        stdin?.theirs ?? -1,
        stdout.theirs,
        stderr?.theirs ?? -1,
        spec,
        initPidfd,
        control.theirs,
        result.theirs,
        context.programs.sealed('pvecri-exec'),
      ],
    });
    closeSync(spawned.pidfd);
    return {
      stdin: stdin?.ours ?? null,
      stdout: stdout.ours,
      stderr: stderr?.ours ?? null,
      result: result.ours,
      control: control.ours,
      cgroup: join(cgroupRoot, request.cgroup, name),
    };
  } catch (error) {
    for (const fd of ours) closeSync(fd);
    throw wrap(error, `container ${request.id}: cannot start the exec helper`);
  } finally {
    for (const fd of theirs) closeSync(fd);
  }
}

/** What a helper would have done: its death signal reaches the command's first process alone. */
export async function endCommand(cgroup: string): Promise<void> {
  await killLeaf(cgroup);
  await removeLeaf(cgroup);
}

/** waitpid's status as a shell would say it. */
export function exitCode(waitStatus: number): number {
  const signal = waitStatus & 0x7f;
  return signal === 0 ? waitStatus >> 8 : 128 + signal;
}

export function helperKilled(id: ContainerId): RuntimeError {
  return new RuntimeError(
    'internal',
    `container ${id}: the exec helper was killed, and the command with it`,
  );
}

export function timedOut(id: ContainerId, process: ProcessSpec, limitMs: number): RuntimeError {
  return new RuntimeError(
    'deadline-exceeded',
    `container ${id}: command ${JSON.stringify(process.argv[0] ?? '')} did not end within ${limitMs} ms and was killed`,
  );
}

export function cancelled(id: ContainerId, reason?: unknown): RuntimeError {
  return new RuntimeError('cancelled', `container ${id}: command was cancelled and killed`, reason);
}

/** setTimeout takes no more than 31 bits, and fires at once for more. */
export function timerLimit(timeoutMs: number): number {
  return Math.min(timeoutMs, 2 ** 31 - 1);
}
