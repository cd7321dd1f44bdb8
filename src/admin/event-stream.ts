/** Calls of the admin service that answer with a stream of events. */
import type { handleBidiStreamingCall, handleServerStreamingCall } from '@grpc/grpc-js';
import { toServiceError } from '../cri/status.js';
import { requireReady } from '../cri/unary.js';
import { unlessAborted } from '../util/unless-aborted.js';
import { goneSignal, HUNG_UP, type CallEvents, type StreamWiring } from './caller.js';

export interface Caller<Event> {
  /** Aborted when the caller went away or the agent stops. */
  gone: AbortSignal;
  /** Resolves when the caller can take more. Rejects once it is gone. */
  send: (event: Event) => Promise<void>;
}

/** The call ends when `answer` does. */
export function eventHandler<Request, Event>(
  wiring: StreamWiring,
  name: string,
  answer: (request: Request, caller: Caller<Event>) => Promise<void>,
): handleServerStreamingCall<Request, Event> {
  return (call) => {
    serve<Event>(wiring, name, call, (caller) => answer(call.request, caller));
  };
}

/** The same for a call that is told more than one message. */
export function exchangeHandler<Message, Event>(
  wiring: StreamWiring,
  name: string,
  answer: (messages: AsyncIterable<Message>, caller: Caller<Event>) => Promise<void>,
): handleBidiStreamingCall<Message, Event> {
  return (call) => {
    serve<Event>(wiring, name, call, (caller) => answer(call as AsyncIterable<Message>, caller));
  };
}

/** A call's side that events are written to. */
interface EventCall<Event> extends CallEvents {
  write(event: Event, written: () => void): unknown;
  end(): unknown;
  emit(event: 'error', error: Error): unknown;
}

function serve<Event>(
  { gate, closing }: StreamWiring,
  name: string,
  call: EventCall<Event>,
  answer: (caller: Caller<Event>) => Promise<void>,
): void {
  const started = performance.now();
  const ms = (): number => Math.round(performance.now() - started);
  const gone = goneSignal(call, closing);
  const work = async (): Promise<void> => {
    requireReady(gate);
    await answer({ gone, send: (event) => send(call, gone, event) });
  };
  work().then(
    () => {
      gate.log.debug({ rpc: name, ms: ms() }, 'answered');
      call.end();
    },
    (error: unknown) => {
      if (gone.reason === HUNG_UP) return;
      const failure = toServiceError(gone.aborted ? gone.reason : error);
      gate.log.warn({ rpc: name, code: failure.code, ms: ms(), err: error }, 'call failed');
      call.emit('error', failure);
    },
  );
}

function send<Event>(call: EventCall<Event>, gone: AbortSignal, event: Event): Promise<void> {
  return unlessAborted(
    gone,
    new Promise((resolve) => {
      call.write(event, () => {
        resolve();
      });
    }),
  );
}
