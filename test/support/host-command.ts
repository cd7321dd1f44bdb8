/** A process of this host behind the streaming server, where a container's would be. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Logger } from '../../src/core/logger.js';
import type { TerminalSize } from '../../src/core/model.js';
import type { RemoteCommand } from '../../src/streaming/remote-command.js';

export interface HostCommand extends RemoteCommand {
  readonly sizes: TerminalSize[];
  child: ChildProcess | undefined;
  /** How often the client was gone before the end. */
  left: number;
}

export function hostCommand(script: string, wanted: Partial<RemoteCommand> = {}): HostCommand {
  const command: HostCommand = {
    stdin: false,
    stdout: true,
    stderr: true,
    tty: false,
    about: { stream: 'exec' },
    ...wanted,
    sizes: [],
    child: undefined,
    left: 0,
    open: async () => {
      const child = spawn('sh', ['-c', script], { stdio: 'pipe' });
      command.child = child;
      child.stdin.on('error', () => undefined);
      const closed = once(child, 'close') as Promise<[number | null]>;
      await once(child, 'spawn');
      return {
        session: {
          stdin: command.stdin ? child.stdin : null,
          stdout: child.stdout,
          stderr: command.tty ? null : child.stderr,
          resize: (size) => command.sizes.push(size),
        },
        ended: closed.then(([code]) =>
          code === 0 ? { kind: 'success' } : { kind: 'exit', code: code ?? 137 },
        ),
        leave: () => {
          command.left += 1;
          child.kill('SIGKILL');
          child.stdout.destroy();
          child.stderr.destroy();
        },
      };
    },
  };
  return command;
}

/** A log that a test can look into. */
export function keptLog(): Logger & { lines: string[] } {
  const lines: string[] = [];
  const line =
    (level: string) =>
    (fields: object, message: string): void => {
      const text = JSON.stringify(fields, (_key, value: unknown) =>
        value instanceof Error ? value.message : value,
      );
      lines.push(`${level} ${message} ${text}`);
    };
  return {
    lines,
    debug: line('debug'),
    info: line('info'),
    warn: line('warn'),
    error: line('error'),
  };
}
