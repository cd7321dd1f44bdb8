/**
 * Exec and attach, whatever the client speaks: a transport brings the client's streams, the process'
 * are opened here, and the two are joined until the process ends or the client is gone.
 */
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Logger, LogFields } from '../core/logger.js';
import type { TerminalSize } from '../core/model.js';
import { unlessAborted } from '../util/unless-aborted.js';
import type { CommandStatus } from './command-status.js';
import { ResizeDecoder } from './resize-events.js';

/** What a token of exec or attach stands for. */
export interface RemoteCommand {
  /** The streams that were asked for: a client opens these and no others. */
  readonly stdin: boolean;
  readonly stdout: boolean;
  /** Never together with tty. */
  readonly stderr: boolean;
  readonly tty: boolean;
  /** Names it in the log. */
  readonly about: LogFields;
  open(): Promise<RunningCommand>;
}

export interface RunningCommand {
  readonly session: {
    readonly stdin: Writable | null;
    readonly stdout: Readable;
    readonly stderr: Readable | null;
    resize(size: TerminalSize): void;
  };
  /** What the client is told, after the last byte of output was read. */
  readonly ended: Promise<CommandStatus>;
  /** The client is gone. */
  leave(): void;
}

/**
 * A client's streams, null where it has none. To end an output is to tell the client of its end. A
 * stream that is destroyed is one that the client closed; the others go on.
 */
export interface CommandStreams {
  readonly stdin: Readable | null;
  readonly stdout: Writable | null;
  readonly stderr: Writable | null;
  /** JSON, as resize-events.ts reads it. */
  readonly resize: Readable | null;
}

/**
 * Runs until the process has ended and its output has been handed over; then the client is to be told
 * the status. Rejects with the reason of `gone` when that comes first.
 */
export async function serveCommand(
  command: RemoteCommand,
  streams: CommandStreams,
  { gone, log }: { gone: AbortSignal; log: Logger },
): Promise<CommandStatus> {
  gone.throwIfAborted();
  let running: RunningCommand;
  try {
    running = await command.open();
  } catch (error) {
    log.warn({ ...command.about, err: error }, 'stream failed');
    return failure(error);
  }
  try {
    return await unlessAborted(gone, exchange(running, streams));
  } catch (error) {
    running.leave();
    gone.throwIfAborted();
    log.warn({ ...command.about, err: error }, 'stream failed');
    return failure(error);
  }
}

async function exchange(
  { session, ended }: RunningCommand,
  streams: CommandStreams,
): Promise<CommandStatus> {
  void feed(streams.stdin, session.stdin);
  void followSize(streams.resize, session);
  const outputs = Promise.all([
    deliver(session.stdout, streams.stdout),
    deliver(session.stderr, streams.stderr),
  ]);
  const status = await ended;
  await outputs;
  return status;
}

async function deliver(output: Readable | null, client: Writable | null): Promise<void> {
  if (output === null || client === null) {
    output?.destroy();
    client?.end();
    return;
  }
  try {
    await pipeline(output, client);
  } catch {
    // The client has closed this one: what comes is thrown away, the command goes on.
    output.destroy();
  }
}

async function feed(client: Readable | null, input: Writable | null): Promise<void> {
  if (client === null || input === null) return;
  try {
    await pipeline(client, input);
  } catch {
    // One of the two left early, and pipeline has closed the other.
  }
}

async function followSize(
  client: Readable | null,
  session: RunningCommand['session'],
): Promise<void> {
  if (client === null) return;
  const decoder = new ResizeDecoder();
  try {
    for await (const bytes of client as AsyncIterable<Uint8Array>) {
      for (const size of decoder.push(bytes)) session.resize(size);
    }
  } catch {
    // A size that is none: the stream is closed by the loop's end, the command goes on without.
  }
}

function failure(error: unknown): CommandStatus {
  return { kind: 'failure', message: error instanceof Error ? error.message : String(error) };
}
