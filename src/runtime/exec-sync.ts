/** ExecSync: a command in a running container, its output and its exit code. */
import { RuntimeError } from '../core/errors.js';
import type { ExecResult } from '../core/ports.js';
import { requireNoNul } from '../core/text.js';
import { filterForExec } from './container-seccomp.js';
import type { RuntimeContext } from './context.js';

/** What the other CRI runtimes keep of each stream; the rest is read and dropped. */
const MAX_OUTPUT_BYTES = 16 << 20;

export async function execSync(
  context: RuntimeContext,
  request: { containerId: string; command: string[]; timeoutMs: number; signal?: AbortSignal },
): Promise<ExecResult> {
  const container = context.objects.container(request.containerId);
  if (request.command.length === 0) {
    throw new RuntimeError('invalid-argument', 'exec: cmd is empty: name a command');
  }
  for (const word of request.command) requireNoNul('exec cmd', word);
  if (container.life.state !== 'running') {
    throw new RuntimeError(
      'failed-precondition',
      `container ${container.id} is ${container.life.state}: a command can be run in a running container only`,
    );
  }
  const { record } = container;
  return context.engine.exec({
    id: record.id,
    runDirectory: context.folders.containerRunDirectory(record.id),
    cgroup: record.cgroup.outer,
    process: {
      ...record.process,
      argv: request.command,
      seccomp: await filterForExec(context, record),
      tty: false,
    },
    timeoutMs: request.timeoutMs,
    maxOutputBytes: MAX_OUTPUT_BYTES,
    ...(request.signal && { signal: request.signal }),
  });
}
