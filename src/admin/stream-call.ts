/**
 * One streaming call of the admin service: messages in, bytes to the process; bytes of the process
 * out, messages. Neither side is read faster than the other one takes.
 */
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import type { handleBidiStreamingCall, ServerDuplexStream } from '@grpc/grpc-js';
import { RuntimeError } from '../core/errors.js';
import type { TerminalSize } from '../core/model.js';
import { toServiceError } from '../cri/status.js';
import { requireReady, type Gate } from '../cri/unary.js';
import { unlessAborted } from '../util/unless-aborted.js';
import { goneSignal, HUNG_UP, type StreamWiring } from './caller.js';
import type { Output, StdinEnd, WindowSize } from './gen/admin.js';

const START_MS = 30_000;
const MAX_STDIN_BYTES = 1 << 20;

/** The messages of a caller, of either call. */
export interface Input<Start> {
  message?:
    | { $case: 'start'; value: Start }
    | { $case: 'stdin'; value: Buffer }
    | { $case: 'stdinEnd'; value: StdinEnd }
    | { $case: 'resize'; value: WindowSize }
    | undefined;
}

export interface OpenStream {
  session: {
    readonly stdin: Writable | null;
    readonly stdout: Readable;
    readonly stderr: Readable | null;
    resize(size: TerminalSize): void;
  };
  tty: boolean;
  exited: Promise<number>;
  /** The caller is gone, or did what it may not. */
  leave(): void;
}

export function streamHandler<Start, Message extends Input<Start>>(
  { gate, closing }: StreamWiring,
  name: string,
  open: (start: Start) => Promise<OpenStream>,
): handleBidiStreamingCall<Message, Output> {
  return (call) => {
    const started = performance.now();
    const ms = (): number => Math.round(performance.now() - started);
    serve(gate, closing, call, open).then(
      () => {
        gate.log.debug({ rpc: name, ms: ms() }, 'answered');
        call.end();
      },
      (error: unknown) => {
        const failure = toServiceError(error);
        gate.log.warn({ rpc: name, code: failure.code, ms: ms(), err: error }, 'call failed');
        call.emit('error', failure);
      },
    );
  };
}

async function serve<Start, Message extends Input<Start>>(
  gate: Gate,
  closing: AbortSignal,
  call: ServerDuplexStream<Message, Output>,
  open: (start: Start) => Promise<OpenStream>,
): Promise<void> {
  requireReady(gate);
  const gone = goneSignal(call, closing);
  const messages = call[Symbol.asyncIterator]() as AsyncIterator<Message>;
  const stream = await open(await firstMessage(messages, gone));
  try {
    await unlessAborted(gone, exchange(call, messages, stream, gone));
  } catch (error) {
    stream.leave();
    // Whoever hung up is told nothing, and it is no failure.
    if (gone.reason !== HUNG_UP) throw error;
  }
}

async function exchange<Start, Message extends Input<Start>>(
  call: ServerDuplexStream<Message, Output>,
  messages: AsyncIterator<Message>,
  { session, tty, exited }: OpenStream,
  gone: AbortSignal,
): Promise<void> {
  const send = (message: NonNullable<Output['message']>): Promise<void> =>
    unlessAborted(
      gone,
      new Promise((resolve) => {
        call.write({ message }, () => {
          resolve();
        });
      }),
    );
  const pump = async ($case: 'stdout' | 'stderr', output: Readable | null): Promise<void> => {
    if (output === null) return;
    for await (const value of output as AsyncIterable<Buffer>) await send({ $case, value });
  };
  await send({ $case: 'started', value: { tty } });
  const inputFailed = new Promise<never>((_resolve, reject) => {
    feed(messages, session, gone).catch(reject);
  });
  const outputs = Promise.all([pump('stdout', session.stdout), pump('stderr', session.stderr)]);
  outputs.catch(() => undefined);
  const value = await Promise.race([inputFailed, exited]);
  await Promise.race([inputFailed, outputs]);
  await send({ $case: 'exitCode', value });
}

/** Until the caller ends its side. Rejects for a message that may not come. */
async function feed<Start>(
  messages: AsyncIterator<Input<Start>>,
  session: OpenStream['session'],
  gone: AbortSignal,
): Promise<void> {
  for (;;) {
    // It fails when the connection breaks, and that is told by other ways.
    const next = await messages.next().catch(() => undefined);
    if (next === undefined) return;
    if (next.done === true) {
      session.stdin?.end();
      return;
    }
    const { message } = next.value;
    switch (message?.$case) {
      case 'stdin':
        await writeInput(session.stdin, message.value, gone);
        break;
      case 'stdinEnd':
        session.stdin?.end();
        break;
      case 'resize':
        session.resize(terminalSize(message.value));
        break;
      case 'start':
        throw new RuntimeError('invalid-argument', 'start was sent twice: send it once, first');
      case undefined:
        throw new RuntimeError('invalid-argument', 'a message is empty: set one of its fields');
    }
  }
}

async function writeInput(stdin: Writable | null, bytes: Buffer, gone: AbortSignal): Promise<void> {
  if (stdin === null)
    throw new RuntimeError('invalid-argument', 'stdin was sent, but start did not ask for stdin');
  if (bytes.length > MAX_STDIN_BYTES)
    throw new RuntimeError(
      'invalid-argument',
      `a stdin message has ${bytes.length} bytes: send at most ${MAX_STDIN_BYTES}`,
    );
  if (stdin.writableEnded && !stdin.destroyed)
    throw new RuntimeError('invalid-argument', 'stdin was sent after its end');
  // What the process left unread when it ended is dropped.
  if (stdin.destroyed || stdin.write(bytes)) return;
  const settled = new AbortController();
  const options = { signal: AbortSignal.any([gone, settled.signal]) };
  await Promise.race([once(stdin, 'drain', options), once(stdin, 'close', options)]).catch(
    () => undefined,
  );
  settled.abort();
}

async function firstMessage<Start>(
  messages: AsyncIterator<Input<Start>>,
  gone: AbortSignal,
): Promise<Start> {
  const late = AbortSignal.timeout(START_MS);
  const first = await unlessAborted(
    gone,
    Promise.race([
      messages.next(),
      once(late, 'abort').then(() => {
        throw new RuntimeError('deadline-exceeded', `no start came within ${START_MS} ms`);
      }),
    ]),
  );
  const message = first.done === true ? undefined : first.value.message;
  if (message?.$case !== 'start')
    throw new RuntimeError('invalid-argument', 'the first message is not start: send it first');
  return message.value;
}

export function terminalSize({ rows, columns }: WindowSize): TerminalSize {
  if (rows > 0xffff || columns > 0xffff)
    throw new RuntimeError(
      'invalid-argument',
      `window size ${rows} x ${columns} is out of range: expected at most 65535 each`,
    );
  return { rows, columns };
}
