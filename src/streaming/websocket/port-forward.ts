/** Port-forward over WebSocket: two channels for each port, or SPDY's frames in a tunnel. */
import { createWebSocketStream } from 'ws';
import { unlessAborted } from '../../util/unless-aborted.js';
import { forwardPort, type PortForward } from '../port-forward.js';
import { StreamRefused } from '../refusal.js';
import type { Upgrade } from '../server.js';
import { PORT_FORWARD_PROTOCOL, servePortForward } from '../spdy/port-forward.js';
import { ChannelConnection } from './channels.js';
import { acceptWebSocket, chooseProtocol } from './handshake.js';
import { BASE64, BINARY } from './messages.js';

const TUNNEL = `SPDY/3.1+${PORT_FORWARD_PROTOCOL}`;
const FORMATS = {
  '': BINARY,
  'v4.channel.k8s.io': BINARY,
  'v4.base64.channel.k8s.io': BASE64,
} as const;
const PROTOCOLS = Object.keys({ [TUNNEL]: null, ...FORMATS });
/** As many as have a number of their own for each of their two channels. */
const MAX_PORTS = 127;
/** What base64's one digit can number. */
const MAX_PORTS_BASE64 = 5;

export async function servePortForwardOverWebSocket(
  upgrade: Upgrade,
  forward: PortForward,
): Promise<void> {
  const protocol = chooseProtocol(upgrade, PROTOCOLS);
  if (protocol === TUNNEL) await serveTunnel(upgrade, forward);
  else await servePorts(upgrade, forward, protocol as keyof typeof FORMATS);
}

async function serveTunnel(upgrade: Upgrade, forward: PortForward): Promise<void> {
  const webSocket = acceptWebSocket(upgrade, TUNNEL);
  const tunnel = createWebSocketStream(webSocket);
  // 'close' follows.
  tunnel.on('error', () => tunnel.destroy());
  await servePortForward({ ...upgrade, socket: tunnel, head: Buffer.alloc(0) }, forward);
}

async function servePorts(
  upgrade: Upgrade,
  forward: PortForward,
  protocol: keyof typeof FORMATS,
): Promise<void> {
  const { limits, closing, log } = upgrade;
  const format = FORMATS[protocol];
  const most = format === BASE64 ? MAX_PORTS_BASE64 : MAX_PORTS;
  const ports = wantedPorts(upgrade, forward);
  if (ports.length > most) {
    throw new StreamRefused(
      400,
      `${ports.length} ports are more than ${protocol} can number: ${most}`,
    );
  }
  const connection = new ChannelConnection(acceptWebSocket(upgrade, protocol), {
    format,
    endsChannels: false,
    idleMs: limits.idleMs,
    closing,
  });
  const { gone } = connection;
  const served = ports.map(async (port, index) => {
    const data = connection.open(2 * index);
    const error = connection.open(2 * index + 1);
    error.resume();
    // Tells the client which channels are this port's.
    for (const channel of [data, error]) channel.write(uint16(port));
    // A client cannot end a channel: the pod's end is the end of both.
    data.once('finish', () => {
      data.receiveEnd();
    });
    await forwardPort(forward, port, { data, error }, { gone, log });
  });
  const all = Promise.all(served);
  try {
    await unlessAborted(gone, all);
  } catch (reason) {
    log.debug({ ...forward.about, err: reason }, 'stream ended early');
  } finally {
    await connection.close();
    await all;
  }
}

/** What the RPC was told, for a kubelet passes on no query; else the query's. */
function wantedPorts({ request }: Upgrade, forward: PortForward): readonly number[] {
  if (forward.ports.length > 0) return forward.ports;
  const { searchParams } = new URL(request.url ?? '', 'http://localhost');
  const words = searchParams.getAll('port').flatMap((word) => word.split(','));
  if (words.length === 0) {
    throw new StreamRefused(400, 'no port is named: add ?port=80 to the URL for each');
  }
  return words.map((word) => {
    const port = /^\d{1,5}$/.test(word) ? Number(word) : 0;
    if (port >= 1 && port <= 0xffff) return port;
    throw new StreamRefused(
      400,
      `port ${JSON.stringify(word.slice(0, 20))} is out of range: name one of 1 to 65535`,
    );
  });
}

function uint16(port: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(port);
  return bytes;
}
