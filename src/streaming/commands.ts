/** What exec and attach run for a client that comes with their token. */
import { attach, type AttachCall } from '../runtime/attach.js';
import type { RuntimeContext } from '../runtime/context.js';
import { execStream } from '../runtime/exec-stream.js';
import type { RemoteCommand } from './remote-command.js';

export interface WantedStreams {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  tty: boolean;
}

export function execCommand(
  context: RuntimeContext,
  { containerId, command }: { containerId: string; command: string[] },
  { stdin, stdout, stderr, tty }: WantedStreams,
): RemoteCommand {
  return {
    stdin,
    stdout,
    stderr,
    tty,
    about: { stream: 'exec', container: containerId },
    open: async () => {
      const call = { containerId, command, tty, stdin, size: null, timeoutMs: 0 };
      const session = await execStream(context, call);
      return {
        session,
        ended: session.exited.then((code) =>
          code === 0 ? { kind: 'success' } : { kind: 'exit', code },
        ),
        leave: () => {
          // A terminal that is gone hangs up. Without one the command goes on, as with the other runtimes.
          if (tty) session.kill();
          session.detach();
        },
      };
    },
  };
}

export function attachCommand(
  context: RuntimeContext,
  { containerId, stdin }: AttachCall,
  { stdout, stderr, tty }: Omit<WantedStreams, 'stdin'>,
): RemoteCommand {
  return {
    stdin,
    stdout,
    stderr,
    tty,
    about: { stream: 'attach', container: containerId },
    open: async () => {
      const { session, exited } = await attach(context, { containerId, stdin });
      return {
        session,
        // The end of a container is success to who looks on, whatever its exit code.
        ended: exited.then(() => ({ kind: 'success' })),
        leave: () => {
          session.detach();
        },
      };
    },
  };
}
