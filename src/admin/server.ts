/** The admin front end: what CRI has no call for, for the pvecri command, on a socket of its own. */
import { Server } from '@grpc/grpc-js';
import { RuntimeError } from '../core/errors.js';
import type { TerminalSize } from '../core/model.js';
import { frontEnd, type FrontEnd } from '../cri/front-end.js';
import { unary, type Gate } from '../cri/unary.js';
import { attach } from '../runtime/attach.js';
import type { RuntimeContext } from '../runtime/context.js';
import { execStream } from '../runtime/exec-stream.js';
import { eventHandler, exchangeHandler } from './event-stream.js';
import {
  AdminService,
  type AttachInput,
  type AttachStart,
  type CheckImagesEvent,
  type CheckImagesRequest,
  type ExecInput,
  type ExecStart,
  type ListImagesRequest,
  type ListImagesResponse,
  type ListPullsRequest,
  type ListPullsResponse,
  type LoadImagesEvent,
  type LoadImagesInput,
  type PruneImagesRequest,
  type PruneImagesResponse,
  type PullImageEvent,
  type PullImageRequest,
  type PushImageEvent,
  type PushImageRequest,
  type SaveImagesPiece,
  type SaveImagesRequest,
  type TagImageRequest,
  type TagImageResponse,
  type VerifyImageRequest,
  type VerifyImageResponse,
  type WindowSize,
} from './gen/admin.js';
import { checkImages } from './image-check-call.js';
import { loadImages } from './load-call.js';
import { listPulls, pullImage, watchPulls } from './pull-calls.js';
import { listImages, pruneImages, pushImage, saveImages, tagImage } from './image-calls.js';
import { verifyImage } from './image-verify.js';
import { streamHandler, terminalSize, type OpenStream } from './stream-call.js';

/** A command line may be long: the kernel takes 2 MiB (execve(2)). */
const MAX_MESSAGE_BYTES = 4 << 20;

export function createAdminServer(context: RuntimeContext, gate: Gate): FrontEnd {
  const server = new Server({
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  });
  const closing = new AbortController();
  const wiring = { gate, closing: closing.signal };
  server.addService(AdminService, {
    exec: streamHandler<ExecStart, ExecInput>(wiring, 'Exec', (start) => openExec(context, start)),
    attach: streamHandler<AttachStart, AttachInput>(wiring, 'Attach', (start) =>
      openAttach(context, start),
    ),
    pullImage: eventHandler<PullImageRequest, PullImageEvent>(
      wiring,
      'PullImage',
      (request, caller) => pullImage(context, request, caller),
    ),
    listPulls: unary<ListPullsRequest, ListPullsResponse>(gate, 'ListPulls', () =>
      listPulls(context),
    ),
    watchPulls: eventHandler<ListPullsRequest, ListPullsResponse>(
      wiring,
      'WatchPulls',
      (_request, caller) => watchPulls(context, caller),
    ),
    listImages: unary<ListImagesRequest, ListImagesResponse>(gate, 'ListImages', () =>
      listImages(context),
    ),
    tagImage: unary<TagImageRequest, TagImageResponse>(gate, 'TagImage', (request) =>
      tagImage(context, request),
    ),
    pruneImages: unary<PruneImagesRequest, PruneImagesResponse>(gate, 'PruneImages', (request) =>
      pruneImages(context, request),
    ),
    saveImages: eventHandler<SaveImagesRequest, SaveImagesPiece>(
      wiring,
      'SaveImages',
      (request, caller) => saveImages(context, request, caller),
    ),
    loadImages: exchangeHandler<LoadImagesInput, LoadImagesEvent>(
      wiring,
      'LoadImages',
      (messages, caller) => loadImages(context, messages, caller),
    ),
    pushImage: eventHandler<PushImageRequest, PushImageEvent>(
      wiring,
      'PushImage',
      (request, caller) => pushImage(context, request, caller),
    ),
    verifyImage: unary<VerifyImageRequest, VerifyImageResponse>(
      gate,
      'VerifyImage',
      (request, call) => verifyImage(context, request, call.signal),
    ),
    checkImages: eventHandler<CheckImagesRequest, CheckImagesEvent>(
      wiring,
      'CheckImages',
      (request, caller) => checkImages(context, request, caller),
    ),
  });
  const front = frontEnd(server);
  return {
    accept: (socket) => {
      front.accept(socket);
    },
    close: (graceMs) => {
      // A session may last for days: a stop of the agent does not wait for it.
      closing.abort(
        new RuntimeError('unavailable', 'the agent stops: the connection to the container ends'),
      );
      return front.close(graceMs);
    },
  };
}

async function openExec(context: RuntimeContext, start: ExecStart): Promise<OpenStream> {
  const { containerId, command, tty, stdin, timeoutMs, endWithCaller } = start;
  if (timeoutMs < 0n)
    throw new RuntimeError(
      'invalid-argument',
      `timeout_ms ${timeoutMs} is negative: expected 0 or more`,
    );
  const session = await execStream(context, {
    containerId,
    command,
    tty,
    stdin,
    size: sizeOf(start.size),
    timeoutMs: Number(timeoutMs),
  });
  return {
    session,
    tty,
    exited: session.exited,
    leave: () => {
      if (endWithCaller) session.kill();
      session.detach();
    },
  };
}

async function openAttach(context: RuntimeContext, start: AttachStart): Promise<OpenStream> {
  const size = sizeOf(start.size);
  const { session, tty, exited } = await attach(context, start);
  if (size !== null) session.resize(size);
  return {
    session,
    tty,
    exited,
    leave: () => {
      session.detach();
    },
  };
}

function sizeOf(size: WindowSize | undefined): TerminalSize | null {
  return size === undefined ? null : terminalSize(size);
}
