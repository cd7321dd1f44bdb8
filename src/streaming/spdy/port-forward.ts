/** Port-forward over SPDY: two streams for each connection, one of them for what goes wrong. */
import { once } from 'node:events';
import { forwardPort, type PortForward } from '../port-forward.js';
import type { Upgrade } from '../server.js';
import { SpdyConnection } from './connection.js';
import { acceptSpdy } from './handshake.js';
import type { SpdyStream } from './stream.js';

export const PORT_FORWARD_PROTOCOL = 'portforward.k8s.io';

/** Of one client at a time: 500 connections. */
const MAX_STREAMS = 1000;

export async function servePortForwardOverSpdy(
  upgrade: Upgrade,
  forward: PortForward,
): Promise<void> {
  acceptSpdy(upgrade, [PORT_FORWARD_PROTOCOL]);
  await servePortForward(upgrade, forward);
}

/** Once both sides agree to speak SPDY on the upgrade's socket. */
export async function servePortForward(
  { socket, head, limits, closing, log }: Upgrade,
  forward: PortForward,
): Promise<void> {
  const pairs = new StreamPairs(limits.creationMs);
  const running = new Set<Promise<void>>();
  const connection = new SpdyConnection(socket, head, {
    idleMs: limits.idleMs,
    closing,
    maxStreams: MAX_STREAMS,
    onStream: (stream) => {
      const found = pairs.add(stream);
      if (found === 'refused') return false;
      if (found === 'incomplete') return true;
      const { port, data, error } = found;
      // What a client sends where it should listen.
      error.resume();
      const served = forwardPort(forward, port, { data, error }, { gone, log }).then(() => {
        pairs.remove(found);
      });
      running.add(served);
      void served.finally(() => running.delete(served));
      return true;
    },
  });
  const { gone } = connection;
  try {
    if (!gone.aborted) await once(gone, 'abort');
    log.debug({ ...forward.about, err: gone.reason as unknown }, 'stream ended');
  } finally {
    pairs.close();
    await connection.close();
    await Promise.all(running);
  }
}

interface StreamPair {
  readonly id: string;
  readonly port: number;
  readonly data: SpdyStream;
  readonly error: SpdyStream;
}

interface HalfPair {
  stream: SpdyStream;
  late: NodeJS.Timeout;
}

/** The streams of a connection come one after the other, and belong together by a header. */
class StreamPairs {
  readonly #limitMs: number;
  readonly #halves = new Map<string, HalfPair>();
  readonly #whole = new Set<string>();

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  add(stream: SpdyStream): StreamPair | 'incomplete' | 'refused' {
    const type = stream.headers.get('streamtype');
    const port = stream.headers.get('port') ?? '';
    if ((type !== 'data' && type !== 'error') || !/^\d{1,9}$/.test(port)) return 'refused';
    const id = pairId(stream, type);
    if (this.#whole.has(id)) return 'refused';
    const half = this.#halves.get(id);
    if (half === undefined) {
      // A stream that is destroyed leaves nothing behind.
      stream.once('close', () => {
        this.#forget(id, stream);
      });
      const late = setTimeout(() => stream.destroy(), this.#limitMs);
      this.#halves.set(id, { stream, late });
      return 'incomplete';
    }
    const other = half.stream;
    const samePort = other.headers.get('port') === port;
    if (other.headers.get('streamtype') === type || !samePort) return 'refused';
    this.#forget(id, other);
    this.#whole.add(id);
    const [data, error] = type === 'data' ? [stream, other] : [other, stream];
    return { id, port: Number(port), data, error };
  }

  remove({ id }: StreamPair): void {
    this.#whole.delete(id);
  }

  close(): void {
    for (const { late } of this.#halves.values()) clearTimeout(late);
    this.#halves.clear();
  }

  #forget(id: string, stream: SpdyStream): void {
    const half = this.#halves.get(id);
    if (half?.stream !== stream) return;
    clearTimeout(half.late);
    this.#halves.delete(id);
  }
}

/** Clients that name no request open the error stream first, and its data stream right after it. */
function pairId({ id, headers }: SpdyStream, type: 'data' | 'error'): string {
  return headers.get('requestid') ?? `stream ${type === 'error' ? id : id - 2}`;
}
