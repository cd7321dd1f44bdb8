/** Streams over SPDY/3.1, which is what kubelets speak. */
import type { Transport } from '../server.js';
import { serveCommandOverSpdy } from './command.js';
import { servePortForwardOverSpdy } from './port-forward.js';

export const spdyTransport: Transport = (upgrade, subject) =>
  subject.kind === 'portforward'
    ? servePortForwardOverSpdy(upgrade, subject.forward)
    : serveCommandOverSpdy(upgrade, subject.command);
