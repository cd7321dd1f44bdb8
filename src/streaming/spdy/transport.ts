/** Streams over SPDY/3.1, which is what kubelets speak. */
import type { Transport } from '../server.js';
import { serveCommandOverSpdy } from './command.js';

export const spdyTransport: Transport = (upgrade, subject) =>
  serveCommandOverSpdy(upgrade, subject.command);
