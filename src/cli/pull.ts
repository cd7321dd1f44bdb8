/** Pulling of images, with the time it takes on a terminal: CRI itself tells no progress. */
import { ImageStatusRequest, PullImageRequest } from '../cri/gen/index.js';
import type { Image } from '../cri/gen/index.js';
import { CommandFailure } from './failure.js';
import { formatBytes, formatMilliseconds } from './human-units.js';
import type { Session } from './session.js';

const TICK_MS = 250;
const CLEAR_LINE = '\r\u001b[K';

export async function imageStatus(session: Session, image: string): Promise<Image | undefined> {
  const cri = await session.cri();
  const answer = await cri.image.imageStatus(ImageStatusRequest.create({ image: { image } }), {
    signal: session.signal,
  });
  return answer.image;
}

/** The pulled image; its size and the time taken go to stderr. */
export async function pullImage(session: Session, reference: string): Promise<Image> {
  const cri = await session.cri();
  const started = performance.now();
  const end = showElapsed(session, `pulling ${reference}`);
  let imageRef;
  try {
    // No limit: a pull may take long, and Ctrl-C ends it.
    ({ imageRef } = await cri.image.pullImage(
      PullImageRequest.create({ image: { image: reference } }),
      { signal: session.signal, timeoutMs: 0 },
    ));
  } finally {
    await end();
  }
  const image = await imageStatus(session, imageRef);
  if (image === undefined) {
    throw new CommandFailure(
      'not-found',
      `image ${reference} (${imageRef}) was removed right after it was pulled: pull it again`,
    );
  }
  const took = formatMilliseconds(performance.now() - started);
  await session.note(`pulled ${reference}: ${formatBytes(Number(image.size))} in ${took}`);
  return image;
}

/** A line that counts seconds, until the returned function wipes it. */
function showElapsed(session: Session, what: string): () => Promise<void> {
  if (!session.err.isTerminal || session.json) return () => Promise.resolve();
  const started = Date.now();
  const timer = setInterval(() => {
    const seconds = ((Date.now() - started) / 1000).toFixed(1);
    void session.err.write(`${CLEAR_LINE}${what} … ${seconds} s`);
  }, TICK_MS);
  return async () => {
    clearInterval(timer);
    await session.err.write(CLEAR_LINE);
  };
}
