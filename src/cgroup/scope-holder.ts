/** The process that keeps a scope: systemd takes away one that has none. */
import { closeSync, writeSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, RuntimeError } from '../core/errors.js';
import type { ProcessSpawner } from '../native/process.js';

/** The holder's folder of a scope: a cgroup that gives controllers to folders has no processes itself. */
export const HOLD = 'hold';

const READY = 'ready';
const SIGKILL = 9;
const STREAM_END_MS = 1000;

export interface HolderProgram {
  file: string;
  /** Becomes `pvecri-pause hold`, at once or by way of a program that executes it. */
  argv: string[];
  env: string[];
  /** For it to be ready. */
  timeoutMs: number;
}

/**
 * Starts a holder and moves it to the folder `hold` of a scope. Until it stands there it ends with the
 * agent: an agent that is killed meanwhile leaves nothing.
 */
export async function startHolder(
  spawner: ProcessSpawner,
  program: HolderProgram,
  scope: string,
): Promise<void> {
  const { addon } = spawner;
  const holder = await spawn(spawner, program);
  try {
    const late = sleep(program.timeoutMs, 'late', { ref: false });
    const word = await Promise.race([holder.said, late]);
    if (word === 'late') {
      throw new RuntimeError('deadline-exceeded', `no answer within ${program.timeoutMs} ms`);
    }
    if (word !== READY) {
      const end = sleep(STREAM_END_MS, '', { ref: false });
      const text = word + (await Promise.race([holder.complained, end]));
      throw new RuntimeError('unavailable', firstLine(text) || 'it ended without a word');
    }
    const folder = join(scope, HOLD);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'cgroup.procs'), String(holder.pid));
    writeSync(holder.order, '\n');
  } catch (error) {
    try {
      addon.pidfdSignal(holder.pidfd, SIGKILL);
    } catch (failure) {
      if (!hasCode(failure, 'ESRCH')) throw failure;
    }
    throw error;
  } finally {
    closeSync(holder.order);
    closeSync(holder.pidfd);
  }
}

interface Holder {
  pid: number;
  pidfd: number;
  /** A byte sends it off on its own; its end ends the holder. */
  order: number;
  said: Promise<string>;
  complained: Promise<string>;
}

async function spawn(spawner: ProcessSpawner, { file, argv, env }: HolderProgram): Promise<Holder> {
  const { addon } = spawner;
  const theirs: number[] = [];
  const ours: number[] = [];
  const pipe = (): { read: number; write: number } => addon.pipe();
  try {
    const order = pipe();
    theirs.push(order.read);
    ours.push(order.write);
    const [output, errors] = [pipe(), pipe()];
    theirs.push(output.write, errors.write);
    ours.push(output.read, errors.read);
    const { pid, pidfd } = await spawner.spawn({ file, argv, env, fds: theirs, cwd: '/' });
    ours.length = 0;
    return {
      pid,
      pidfd,
      order: order.write,
      said: readAll(output.read),
      complained: readAll(errors.read),
    };
  } finally {
    for (const fd of [...theirs, ...ours]) closeSync(fd);
  }
}

async function readAll(fd: number): Promise<string> {
  let text = '';
  for await (const chunk of new Socket({ fd, readable: true, writable: false })) {
    text += String(chunk);
  }
  return text;
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0]?.slice(0, 500) ?? '';
}
