/** The answer that turns a connection into a WebSocket, with one of the client's subprotocols. */
import { WebSocketServer, type WebSocket } from 'ws';
import { StreamRefused } from '../refusal.js';
import type { Upgrade } from '../server.js';

/** A client may paste a file at once, and no more; it is kept whole until it is taken. */
const MAX_MESSAGE_BYTES = 4 << 20;
/** What pings may make us keep for a client that does not read. */
const MAX_REPLY_BYTES = 1 << 20;

/** The subprotocol of a client that names none. */
export const NO_PROTOCOL = '';

/** Throws StreamRefused when there is none in common. */
export function chooseProtocol<Protocol extends string>(
  { request }: Upgrade,
  protocols: readonly Protocol[],
): Protocol {
  const header = request.headers['sec-websocket-protocol'] ?? '';
  const offered = header.split(',').map((word) => word.trim());
  for (const word of offered) {
    const known = protocols.find((protocol) => protocol === word);
    if (known !== undefined) return known;
  }
  const names = protocols.filter((name) => name !== NO_PROTOCOL).join(', ');
  throw new StreamRefused(403, `no common protocol: this server speaks ${names}`);
}

/** Throws StreamRefused for a request that no WebSocket begins with. */
export function acceptWebSocket({ request, socket, head }: Upgrade, protocol: string): WebSocket {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    autoPong: false,
    maxPayload: MAX_MESSAGE_BYTES,
  });
  // The library would refuse SPDY/3.1+portforward.k8s.io, which RFC 6455 does not allow for its slash.
  delete request.headers['sec-websocket-protocol'];
  if (protocol !== NO_PROTOCOL) {
    server.on('headers', (lines) => lines.push(`Sec-WebSocket-Protocol: ${protocol}`));
  }
  const outcome: { webSocket?: WebSocket; failure?: Error } = {};
  // Listened to, it leaves the refusal to us. Without a client to verify all happens at once.
  server.on('wsClientError', (error) => {
    outcome.failure = error;
  });
  server.handleUpgrade(request, socket, head, (webSocket) => {
    outcome.webSocket = webSocket;
  });
  const { webSocket, failure } = outcome;
  if (webSocket === undefined) {
    throw new StreamRefused(400, `no WebSocket: ${failure?.message ?? 'the client has left'}`);
  }
  webSocket.on('ping', (data: Buffer) => {
    if (webSocket.bufferedAmount < MAX_REPLY_BYTES) webSocket.pong(data);
    else webSocket.terminate();
  });
  return webSocket;
}
