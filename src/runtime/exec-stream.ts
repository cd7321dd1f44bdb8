/** Exec: a command in a running container, with streams to whoever asked for it. */
import type { TerminalSize } from '../core/model.js';
import type { ExecSession } from '../core/ports/engine.js';
import type { RuntimeContext } from './context.js';
import { commandIn } from './exec-process.js';

export interface ExecStreamCall {
  containerId: string;
  command: string[];
  tty: boolean;
  stdin: boolean;
  size: TerminalSize | null;
  /** 0 for no limit. */
  timeoutMs: number;
}

export async function execStream(
  context: RuntimeContext,
  { containerId, command, tty, stdin, size, timeoutMs }: ExecStreamCall,
): Promise<ExecSession> {
  const found = await commandIn(context, containerId, command, tty);
  return context.engine.execStream({
    ...found,
    process: tty ? { ...found.process, env: withTerm(found.process.env) } : found.process,
    stdin,
    size,
    timeoutMs,
  });
}

/** Programs on a terminal want to know its kind; the other runtimes say xterm too. */
function withTerm(env: string[]): string[] {
  return env.some((variable) => variable.startsWith('TERM=')) ? env : [...env, 'TERM=xterm'];
}
