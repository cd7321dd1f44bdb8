/** Streams over WebSocket, for dashboards, other clients of the API, and crictl. */
import type { Transport } from '../server.js';
import { serveCommandOverWebSocket } from './command.js';
import { servePortForwardOverWebSocket } from './port-forward.js';

export const webSocketTransport: Transport = (upgrade, subject) =>
  subject.kind === 'portforward'
    ? servePortForwardOverWebSocket(upgrade, subject.forward)
    : serveCommandOverWebSocket(upgrade, subject.command);
