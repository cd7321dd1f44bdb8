/** Wraps every RPC: ready check, cancellation, one log line per failed call, and the mapping of errors. */
import type { handleUnaryCall, ServerUnaryCall } from '@grpc/grpc-js';
import { RuntimeError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { toServiceError } from './status.js';

export interface Gate {
  /** False until recovery has ended, and again while the agent stops. */
  isReady(): boolean;
  log: Logger;
}

export interface CallContext {
  /** Aborted when the client hangs up or its deadline passes. */
  signal: AbortSignal;
}

export type Handler<Req, Res> = (request: Req, call: CallContext) => Res | Promise<Res>;

/** `name` is the RPC's; `always` lets it through before the agent is ready. */
export function unary<Req, Res>(
  gate: Gate,
  name: string,
  handler: Handler<Req, Res>,
  always = false,
): handleUnaryCall<Req, Res> {
  return (call, callback) => {
    const started = performance.now();
    answer(gate, handler, call, always).then(
      (response) => {
        gate.log.debug({ rpc: name, ms: Math.round(performance.now() - started) }, 'answered');
        callback(null, response);
      },
      (error: unknown) => {
        const failure = toServiceError(error);
        const ms = Math.round(performance.now() - started);
        gate.log.warn({ rpc: name, code: failure.code, ms, err: error }, 'call failed');
        callback(failure);
      },
    );
  };
}

async function answer<Req, Res>(
  gate: Gate,
  handler: Handler<Req, Res>,
  call: ServerUnaryCall<Req, Res>,
  always: boolean,
): Promise<Res> {
  if (!always) requireReady(gate);
  const controller = new AbortController();
  const onCancelled = (): void => {
    controller.abort();
  };
  call.once('cancelled', onCancelled);
  try {
    return await handler(call.request, { signal: controller.signal });
  } finally {
    // grpc-js tells it of every call in the end, answered or not.
    call.off('cancelled', onCancelled);
  }
}

export function requireReady(gate: Gate): void {
  if (gate.isReady()) return;
  throw new RuntimeError('unavailable', 'the agent is starting or stopping: try again in a moment');
}
