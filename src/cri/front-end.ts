/**
 * gRPC on connections that others accepted. The agent owns its listeners, so that systemd can pass one
 * and every peer's credentials are checked before a byte is read.
 */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { ServerCredentials, type Server } from '@grpc/grpc-js';

/** How long a client may take to read its last answers and hang up. */
const LINGER_MS = 500;

export interface FrontEnd {
  accept(socket: Socket): void;
  /** Lets calls under way end, for at most `graceMs`, then cuts the rest. */
  close(graceMs: number): Promise<void>;
}

export function frontEnd(server: Server): FrontEnd {
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const sockets = new Set<Socket>();
  return {
    accept: (socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      injector.injectConnection(socket);
    },
    close: async (graceMs) => {
      injector.drain(graceMs);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, graceMs);
        server.tryShutdown(() => {
          clearTimeout(timer);
          resolve();
        });
      });
      injector.destroy();
      // The last answers are still on their way. A client that hangs never ends its side, though, and
      // its socket would keep this process alive.
      await Promise.race([
        Promise.all([...sockets].map(closed)),
        delay(LINGER_MS, undefined, { ref: false }),
      ]);
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket, 'close').catch(() => undefined);
}
