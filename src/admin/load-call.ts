/** An archive of images comes in on the admin service. */
import { RuntimeError } from '../core/errors.js';
import type { RuntimeContext } from '../runtime/context.js';
import { unlessAborted } from '../util/unless-aborted.js';
import type { Caller } from './event-stream.js';
import type { LoadImagesEvent, LoadImagesInput } from './gen/admin.js';
import { withProgress } from './pull-calls.js';

const MAX_PIECE_BYTES = 1 << 20;

export async function loadImages(
  { images, log }: RuntimeContext,
  messages: AsyncIterable<LoadImagesInput>,
  { gone, send }: Caller<LoadImagesEvent>,
): Promise<void> {
  const input = messages[Symbol.asyncIterator]();
  const first = await unlessAborted(gone, input.next());
  const start = first.done === true ? undefined : first.value.message;
  if (start?.$case !== 'start')
    throw new RuntimeError('invalid-argument', 'the first message is not start: send it first');
  const { name } = start.value;
  const loaded = await withProgress(
    (onStart) => images.load(archive(input, gone), { name, signal: gone, onStart }),
    (value) => send({ event: { $case: 'progress', value } }),
  );
  for (const { id, names } of loaded) {
    log.info({ id, names }, 'image loaded from an archive');
    await send({ event: { $case: 'image', value: { id, names } } });
  }
}

/** Up to `end`: a connection that breaks ends the messages as well. */
async function* archive(
  input: AsyncIterator<LoadImagesInput>,
  gone: AbortSignal,
): AsyncGenerator<Buffer> {
  for (;;) {
    const next = await unlessAborted(gone, input.next());
    const message = next.done === true ? undefined : next.value.message;
    switch (message?.$case) {
      case 'data':
        if (message.value.length > MAX_PIECE_BYTES)
          throw new RuntimeError(
            'invalid-argument',
            `a piece of the archive has ${message.value.length} bytes: send at most ${MAX_PIECE_BYTES}`,
          );
        yield message.value;
        break;
      case 'end':
        return;
      default:
        throw new RuntimeError('invalid-argument', 'the archive broke off: no end was sent');
    }
  }
}
