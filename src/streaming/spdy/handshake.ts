/** The HTTP answer that turns a connection into SPDY. */
import { StreamRefused } from '../refusal.js';
import type { Upgrade } from '../server.js';

/**
 * Accepts the first of `protocols`, best first, that the client offers too
 * (k8s.io/streaming/pkg/httpstream, Handshake). Throws StreamRefused when there is none.
 */
export function acceptSpdy<Protocol extends string>(
  { request, socket }: Upgrade,
  protocols: readonly Protocol[],
): Protocol {
  const header = request.headers['x-stream-protocol-version'];
  if (header === undefined) {
    throw new StreamRefused(
      400,
      'X-Stream-Protocol-Version is missing: name the versions you speak',
    );
  }
  // Node joins a header that comes several times with commas.
  const offered = [header].flat().flatMap((line) => line.split(',').map((word) => word.trim()));
  const protocol = protocols.find((each) => offered.includes(each));
  if (protocol === undefined) {
    throw new StreamRefused(403, `no common protocol: this server speaks ${protocols.join(', ')}`, {
      'x-accepted-stream-protocol-versions': [...protocols],
    });
  }
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n' +
      `X-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
  );
  return protocol;
}
