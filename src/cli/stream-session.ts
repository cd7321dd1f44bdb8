/** A command or a container at the terminal, or in a pipe: both directions, until it ends. */
import type { AdminStream } from '../admin/client.js';
import { DetachKeys } from './detach-keys.js';
import { CommandFailure } from './failure.js';
import type { Session } from './session.js';
import type { Terminal } from './terminal.js';

export interface StreamOptions {
  /** Send what the command's own stdin says. */
  stdin: boolean;
  /** Ctrl-P Ctrl-Q leaves. */
  detachKeys: boolean;
}

/** The exit code, or undefined after the detach keys. */
export async function runStream(
  session: Session,
  stream: AdminStream,
  { stdin, detachKeys }: StreamOptions,
): Promise<number | undefined> {
  const ways: (() => void)[] = [];
  const onAbort = (): void => {
    stream.cancel();
  };
  session.signal.addEventListener('abort', onAbort, { once: true });
  const typed = { detached: false };
  let code: number | undefined;
  try {
    if (session.signal.aborted) stream.cancel();
    for await (const message of stream.messages()) {
      switch (message.$case) {
        case 'started': {
          const { tty } = message.value;
          if (tty) ways.push(...enterTerminal(session.terminal, stream, stdin));
          const keys = detachKeys && tty ? new DetachKeys() : undefined;
          if (stdin) {
            void sendInput(session, stream, keys).then((left) => {
              typed.detached = left;
              if (left) stream.cancel();
            });
          }
          break;
        }
        case 'stdout':
          await session.out.write(message.value);
          break;
        case 'stderr':
          await session.err.write(message.value);
          break;
        case 'exitCode':
          code = message.value;
      }
    }
  } catch (error) {
    if (!typed.detached) throw error;
  } finally {
    for (const leave of ways) leave();
    session.signal.removeEventListener('abort', onAbort);
    session.releaseInput();
  }
  if (typed.detached) return undefined;
  if (code === undefined)
    throw new CommandFailure('internal', 'the agent ended the stream without an exit code');
  return code;
}

/** What is to be called at the end. */
function enterTerminal(
  terminal: Terminal | undefined,
  stream: AdminStream,
  raw: boolean,
): (() => void)[] {
  if (terminal === undefined) return [];
  const resize = (): void => {
    stream.resize(terminal.size());
  };
  // It may have changed since the size of the start was read.
  resize();
  return [terminal.onResize(resize), ...(raw ? [terminal.makeRaw()] : [])];
}

/** True when the detach keys were typed. */
async function sendInput(
  session: Session,
  stream: AdminStream,
  keys: DetachKeys | undefined,
): Promise<boolean> {
  try {
    for await (const chunk of session.input()) {
      const { bytes, detached } = keys?.filter(chunk) ?? { bytes: chunk, detached: false };
      if (bytes.length > 0) await stream.stdin(bytes);
      if (detached) return true;
    }
    await stream.stdinEnd();
  } catch {
    // A stdin that cannot be read has ended.
    await stream.stdinEnd();
  }
  return false;
}
