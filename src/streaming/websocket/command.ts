/** Exec and attach over WebSocket: a channel for each of the process' streams, and one for its end. */
import type { Duplex } from 'node:stream';
import { finished } from 'node:stream/promises';
import { statusMessage, type ChannelVersion } from '../command-status.js';
import { serveCommand, type RemoteCommand } from '../remote-command.js';
import type { Upgrade } from '../server.js';
import { ChannelConnection } from './channels.js';
import { acceptWebSocket, chooseProtocol } from './handshake.js';
import { BASE64, BINARY, type MessageFormat } from './messages.js';

const FORMATS = {
  '': [1, BINARY],
  'v5.channel.k8s.io': [5, BINARY],
  'v4.channel.k8s.io': [4, BINARY],
  'v3.channel.k8s.io': [3, BINARY],
  'v2.channel.k8s.io': [2, BINARY],
  'channel.k8s.io': [1, BINARY],
  'v4.base64.channel.k8s.io': [4, BASE64],
  'base64.channel.k8s.io': [1, BASE64],
} as const satisfies Record<string, [ChannelVersion, MessageFormat]>;
const PROTOCOLS = Object.keys(FORMATS) as (keyof typeof FORMATS)[];

const CHANNELS = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;

export async function serveCommandOverWebSocket(
  upgrade: Upgrade,
  command: RemoteCommand,
): Promise<void> {
  const { limits, closing, log } = upgrade;
  const protocol = chooseProtocol(upgrade, PROTOCOLS);
  const [version, format] = FORMATS[protocol];
  const connection = new ChannelConnection(acceptWebSocket(upgrade, protocol), {
    format,
    endsChannels: version >= 5,
    idleMs: limits.idleMs,
    closing,
  });
  const open = (name: keyof typeof CHANNELS, wanted: boolean): Duplex | null =>
    wanted ? connection.open(CHANNELS[name]) : null;
  const streams = {
    stdin: open('stdin', command.stdin),
    stdout: open('stdout', command.stdout),
    stderr: open('stderr', command.stderr),
    resize: open('resize', command.tty),
  };
  const error = connection.open(CHANNELS.error);
  // What a client sends where it should listen.
  for (const stream of [streams.stdout, streams.stderr, error]) stream?.resume();
  const { gone } = connection;
  try {
    // Tells the client that the channels are there (cri-streaming, remotecommand/websocket.go).
    (streams.stdout ?? streams.stderr ?? error).write('');
    const status = await serveCommand(command, streams, { gone, log });
    const message = statusMessage(version, status);
    // An empty one would say nothing: success before version 4.
    if (message === '') error.end();
    else error.end(message);
    await finished(error, { readable: false, signal: gone });
  } catch (reason) {
    log.debug({ ...command.about, err: reason }, 'stream ended early');
  } finally {
    await connection.close();
  }
}
