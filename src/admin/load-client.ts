/** Sends an archive of images to the agent. */
import { once } from 'node:events';
import { Metadata } from '@grpc/grpc-js';
import { RuntimeError } from '../core/errors.js';
import { explain, type ClientConnection } from '../cri/client.js';
import { AdminService, type LoadImagesEvent, type LoadImagesInput } from './gen/admin.js';

/** A message of gRPC may have 4 MiB; these pass the windows of HTTP/2 without standing still. */
const PIECE_BYTES = 256 << 10;

/** Archive pieces are read no faster than the agent takes them. */
export async function* loadImages(
  connection: ClientConnection,
  name: string,
  archive: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<NonNullable<LoadImagesEvent['event']>> {
  const method = AdminService.loadImages;
  if (signal.aborted) throw new RuntimeError('cancelled', `${method.path} was cancelled`);
  const call = connection.client.makeBidiStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
    new Metadata(),
    {},
  );
  const ended = new AbortController();
  const failed: { reading?: Error } = {};
  // It comes out of the loop below.
  call.on('error', () => undefined);
  call.once('status', () => {
    ended.abort();
  });
  const abort = (): void => {
    call.cancel();
  };
  signal.addEventListener('abort', abort);
  const send = async (message: NonNullable<LoadImagesInput['message']>): Promise<void> => {
    if (ended.signal.aborted || call.write({ message })) return;
    await once(call, 'drain', { signal: ended.signal }).catch(() => undefined);
  };
  const sending = async (): Promise<void> => {
    await send({ $case: 'start', value: { name } });
    for await (const chunk of archive) {
      for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
        const value = Buffer.from(chunk.subarray(at, at + PIECE_BYTES));
        await send({ $case: 'data', value });
      }
      if (ended.signal.aborted) return;
    }
    await send({ $case: 'end', value: {} });
    call.end();
  };
  sending().catch((error: unknown) => {
    failed.reading = error instanceof Error ? error : new Error(String(error));
    call.cancel();
  });
  let reached = false;
  try {
    for await (const { event } of call as AsyncIterable<LoadImagesEvent>) {
      reached = true;
      if (event !== undefined) yield event;
    }
  } catch (error) {
    if (failed.reading !== undefined) throw failed.reading;
    throw await explain(connection, method, error, reached);
  } finally {
    signal.removeEventListener('abort', abort);
    call.cancel();
  }
}
