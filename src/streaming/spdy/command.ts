/** Exec and attach over SPDY: one stream for each of the process', named by a header, and one for its end. */
import { finished } from 'node:stream/promises';
import { RuntimeError } from '../../core/errors.js';
import { unlessAborted } from '../../util/unless-aborted.js';
import { statusMessage, type ChannelVersion } from '../command-status.js';
import { serveCommand, type RemoteCommand } from '../remote-command.js';
import type { Upgrade } from '../server.js';
import { SpdyConnection } from './connection.js';
import { acceptSpdy } from './handshake.js';
import type { SpdyStream } from './stream.js';

const VERSIONS = {
  'v4.channel.k8s.io': 4,
  'v3.channel.k8s.io': 3,
  'v2.channel.k8s.io': 2,
  'channel.k8s.io': 1,
} as const satisfies Record<string, ChannelVersion>;
const PROTOCOLS = Object.keys(VERSIONS) as (keyof typeof VERSIONS)[];

/** Values of the header `streamtype`. */
type StreamName = 'error' | 'stdin' | 'stdout' | 'stderr' | 'resize';

export async function serveCommandOverSpdy(
  upgrade: Upgrade,
  command: RemoteCommand,
): Promise<void> {
  const { socket, head, limits, closing, log } = upgrade;
  const version = VERSIONS[acceptSpdy(upgrade, PROTOCOLS)];
  const opened = new OpenedStreams(streamNames(command, version));
  const connection = new SpdyConnection(socket, head, {
    idleMs: limits.idleMs,
    closing,
    maxStreams: opened.names.length,
    onStream: (stream) => opened.add(stream),
  });
  const { gone } = connection;
  try {
    await opened.complete(gone, limits.creationMs);
    const streams = {
      stdin: opened.get('stdin'),
      stdout: opened.get('stdout'),
      stderr: opened.get('stderr'),
      resize: opened.get('resize'),
    };
    // What a client sends where it should listen.
    for (const name of ['error', 'stdout', 'stderr'] as const) opened.get(name)?.resume();
    const status = await serveCommand(command, streams, { gone, log });
    await tell(opened.get('error'), statusMessage(version, status), gone);
  } catch (reason) {
    log.debug({ ...command.about, err: reason }, 'stream ended early');
  } finally {
    await connection.close();
  }
}

function streamNames({ stdin, stdout, stderr, tty }: RemoteCommand, version: number): StreamName[] {
  const wanted: Record<StreamName, boolean> = {
    error: true,
    stdin,
    stdout,
    stderr,
    resize: tty && version >= 3,
  };
  return (Object.keys(wanted) as StreamName[]).filter((name) => wanted[name]);
}

/** A client opens its streams one after the other. */
class OpenedStreams {
  readonly names: readonly StreamName[];
  readonly #streams = new Map<StreamName, SpdyStream>();
  readonly #complete: Promise<void>;
  #settle: () => void = () => undefined;

  constructor(names: readonly StreamName[]) {
    this.names = names;
    this.#complete = new Promise((resolve) => (this.#settle = resolve));
  }

  /** false for one that was not asked for, or twice. */
  add(stream: SpdyStream): boolean {
    const name = this.names.find((each) => each === stream.headers.get('streamtype'));
    if (name === undefined || this.#streams.has(name)) return false;
    this.#streams.set(name, stream);
    if (this.#streams.size === this.names.length) this.#settle();
    return true;
  }

  get(name: StreamName): SpdyStream | null {
    return this.#streams.get(name) ?? null;
  }

  async complete(gone: AbortSignal, limitMs: number): Promise<void> {
    const late = new AbortController();
    const timer = setTimeout(() => {
      const missing = this.names.filter((name) => !this.#streams.has(name)).join(', ');
      late.abort(
        new RuntimeError('deadline-exceeded', `no stream for ${missing} after ${limitMs} ms`),
      );
    }, limitMs);
    try {
      await unlessAborted(AbortSignal.any([gone, late.signal]), this.#complete);
    } finally {
      clearTimeout(timer);
    }
  }
}

async function tell(
  stream: SpdyStream | null,
  message: string,
  signal: AbortSignal,
): Promise<void> {
  if (stream === null || stream.destroyed) return;
  stream.end(message);
  await finished(stream, { readable: false, signal });
}
