/**
 * gRPC on connections that others accepted. The agent owns its listeners, so that systemd can pass one
 * and every peer's credentials are checked before a byte is read.
 */
import type { Socket } from 'node:net';
import { ServerCredentials, type Server } from '@grpc/grpc-js';

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
      // A client that hangs never ends its side: its socket would keep this process alive.
      for (const socket of sockets) socket.destroy();
    },
  };
}
