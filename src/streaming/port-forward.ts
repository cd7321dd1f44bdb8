/** Port-forward, whatever the client speaks: a transport brings two streams for each connection. */
import type { Duplex, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { LogFields, Logger } from '../core/logger.js';
import { connectToPod } from '../runtime/port-forward.js';
import type { RuntimeContext } from '../runtime/context.js';
import { unlessAborted } from '../util/unless-aborted.js';

/** What a token of port-forward stands for. */
export interface PortForward {
  /** Names it in the log. */
  readonly about: LogFields;
  /** Named ahead; empty when the client names them on the connection. */
  readonly ports: readonly number[];
  /** Rejects when nobody listens, and for a port that is none. */
  connect(port: number): Promise<Duplex>;
}

export function podPortForward(
  context: RuntimeContext,
  sandboxId: string,
  ports: readonly number[],
): PortForward {
  return {
    ports,
    about: { stream: 'portforward', sandbox: sandboxId },
    connect: (port) => connectToPod(context, { sandboxId, port }),
  };
}

export interface ForwardStreams {
  /** Its ends are half-closes; destroyed when the connection broke, by either side. */
  readonly data: Duplex;
  /** Carries why there is no connection, and ends when nothing more can go wrong. */
  readonly error: Writable;
}

/** One connection, until both sides have ended it or one broke it. Never rejects. */
export async function forwardPort(
  forward: PortForward,
  port: number,
  { data, error }: ForwardStreams,
  { gone, log }: { gone: AbortSignal; log: Logger },
): Promise<void> {
  const connecting = forward.connect(port);
  let pod: Duplex;
  try {
    pod = await unlessAborted(gone, connecting);
  } catch (reason) {
    // Nobody waits for it any more.
    connecting.then((late) => late.destroy()).catch(() => undefined);
    if (!gone.aborted) log.debug({ ...forward.about, port, err: reason }, 'port-forward failed');
    await endWith(error, reason instanceof Error ? reason.message : String(reason));
    data.destroy();
    return;
  }
  await Promise.allSettled([
    pipeline(data, pod),
    // A client that is told of the pod's end waits for the end of this one before it ends itself
    // (client-go, portforward.go, handleConnection).
    pipeline(pod, data).finally(() => endWith(error, '')),
  ]);
}

async function endWith(error: Writable, message: string): Promise<void> {
  if (error.destroyed || error.writableEnded) return;
  await new Promise<void>((resolve) => {
    error.once('close', resolve);
    error.end(message, resolve);
  });
}
