/** ExecSync: a command in a running container, its output and its exit code. */
import type { ExecResult } from '../core/ports/engine.js';
import type { RuntimeContext } from './context.js';
import { commandIn } from './exec-process.js';

/** What the other CRI runtimes keep of each stream; the rest is read and dropped. */
const MAX_OUTPUT_BYTES = 16 << 20;

export async function execSync(
  context: RuntimeContext,
  request: { containerId: string; command: string[]; timeoutMs: number; signal?: AbortSignal },
): Promise<ExecResult> {
  return context.engine.exec({
    ...(await commandIn(context, request.containerId, request.command, false)),
    timeoutMs: request.timeoutMs,
    maxOutputBytes: MAX_OUTPUT_BYTES,
    ...(request.signal && { signal: request.signal }),
  });
}
