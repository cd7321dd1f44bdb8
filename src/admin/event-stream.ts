/** Calls of the admin service that answer with a stream of events. */
import type { handleServerStreamingCall, ServerWritableStream } from '@grpc/grpc-js';
import { toServiceError } from '../cri/status.js';
import { requireReady } from '../cri/unary.js';
import { goneSignal, HUNG_UP, unlessGone, type StreamWiring } from './caller.js';

export interface Caller<Event> {
  /** Aborted when the caller went away or the agent stops. */
  gone: AbortSignal;
  /** Resolves when the caller can take more. Rejects once it is gone. */
  send: (event: Event) => Promise<void>;
}

/** The call ends when `answer` does. */
export function eventHandler<Request, Event>(
  { gate, closing }: StreamWiring,
  name: string,
  answer: (request: Request, caller: Caller<Event>) => Promise<void>,
): handleServerStreamingCall<Request, Event> {
  return (call) => {
    const started = performance.now();
    const ms = (): number => Math.round(performance.now() - started);
    const gone = goneSignal(call, closing);
    const serve = async (): Promise<void> => {
      requireReady(gate);
      await answer(call.request, { gone, send: (event) => send(call, gone, event) });
    };
    serve().then(
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
  };
}

function send<Event>(
  call: ServerWritableStream<unknown, Event>,
  gone: AbortSignal,
  event: Event,
): Promise<void> {
  return unlessGone(
    gone,
    new Promise((resolve) => {
      call.write(event, () => {
        resolve();
      });
    }),
  );
}
