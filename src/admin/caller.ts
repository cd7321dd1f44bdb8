/** The other side of a streaming call: it may go away at any time, and the agent may stop meanwhile. */
import { RuntimeError } from '../core/errors.js';
import type { Gate } from '../cri/unary.js';

export interface StreamWiring {
  gate: Gate;
  /** Aborted when the agent stops. */
  closing: AbortSignal;
}

/** What a streaming call of the server has, in either direction. */
export interface CallEvents {
  once(event: 'cancelled', listener: () => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

/** Why a signal was aborted by the caller itself: it is told nothing, and it is no failure. */
export const HUNG_UP = new RuntimeError('cancelled', 'the caller hung up');

export function goneSignal(call: CallEvents, closing: AbortSignal): AbortSignal {
  const hungUp = new AbortController();
  call.once('cancelled', () => {
    hungUp.abort(HUNG_UP);
  });
  // Emitted for a broken connection; 'cancelled' comes too, but without a handler it would be thrown.
  call.on('error', () => undefined);
  return AbortSignal.any([hungUp.signal, closing]);
}
