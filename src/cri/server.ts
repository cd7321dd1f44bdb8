/** The CRI front end. */
import { Server } from '@grpc/grpc-js';
import type { RuntimeContext } from '../runtime/context.js';
import { ImageServiceService } from './gen/image_service.js';
import { frontEnd, type FrontEnd } from './front-end.js';
import { imageService } from './image-service.js';
import {
  runtimeService,
  runtimeServiceDefinition,
  type RuntimeServiceFacts,
} from './runtime-service.js';
import type { Gate } from './unary.js';

/** Annotations alone can be megabytes; the kubelet's client itself takes 16 MiB. */
const MAX_MESSAGE_BYTES = 16 << 20;

export function createCriServer(
  context: RuntimeContext,
  gate: Gate,
  facts: RuntimeServiceFacts,
): FrontEnd {
  const server = new Server({
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': -1,
  });
  server.addService(runtimeServiceDefinition, runtimeService(context, gate, facts));
  server.addService(ImageServiceService, imageService(context, gate));
  return frontEnd(server);
}
