/**
 * The CRI front end: gRPC on connections that others accepted. The agent owns its listener, so that
 * systemd can pass one and every peer's credentials are checked before a byte is read.
 */
import type { Socket } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { RuntimeContext } from '../runtime/context.js';
import { ImageServiceService } from './gen/image_service.js';
import { imageService } from './image-service.js';
import {
  runtimeService,
  runtimeServiceDefinition,
  type RuntimeServiceFacts,
} from './runtime-service.js';
import type { Gate } from './unary.js';

/** Annotations alone can be megabytes; the kubelet's client itself takes 16 MiB. */
const MAX_MESSAGE_BYTES = 16 << 20;

export interface CriServer {
  accept(socket: Socket): void;
  /** Lets calls under way end, for at most `graceMs`, then cuts the rest. */
  close(graceMs: number): Promise<void>;
}

export function createCriServer(
  context: RuntimeContext,
  gate: Gate,
  facts: RuntimeServiceFacts,
): CriServer {
  const server = new Server({
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': -1,
  });
  server.addService(runtimeServiceDefinition, runtimeService(context, gate, facts));
  server.addService(ImageServiceService, imageService(context, gate));
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  return {
    accept: (socket) => {
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
    },
  };
}
