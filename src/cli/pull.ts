/** Pulling of images by the agent's admin socket, which tells how far it is. */
import type { Pull } from '../admin/client.js';
import { ImageStatusRequest } from '../cri/gen/index.js';
import type { Image } from '../cri/gen/index.js';
import { credentialsFor, type CredentialOptions } from './credentials.js';
import { CommandFailure } from './failure.js';
import { formatBytes, formatMilliseconds } from './human-units.js';
import { NO_DISPLAY, pullDisplay } from './pull-display.js';
import type { Session } from './session.js';

export interface PullCommandOptions extends CredentialOptions {
  quiet?: true;
}

export interface PulledImage {
  image: Image;
  /** As it was in the end; undefined when the agent told nothing. */
  pull: Pull | undefined;
  durationMs: number;
}

export async function imageStatus(session: Session, image: string): Promise<Image | undefined> {
  const cri = await session.cri();
  const answer = await cri.image.imageStatus(ImageStatusRequest.create({ image: { image } }), {
    signal: session.signal,
  });
  return answer.image;
}

/** Progress, size and the time taken go to stderr. */
export async function pullImage(
  session: Session,
  reference: string,
  options: PullCommandOptions = {},
): Promise<PulledImage> {
  const auth = await credentialsFor(session, reference, options);
  const admin = await session.admin();
  const started = performance.now();
  const isQuiet = options.quiet === true || session.json;
  const display = isQuiet ? NO_DISPLAY : pullDisplay(session.err, reference);
  let imageId: string | undefined;
  let pull: Pull | undefined;
  try {
    // No limit: a pull may take long, and Ctrl-C ends it.
    const events = admin.images.pullImage({ reference, auth }, { signal: session.signal });
    for await (const { event } of events) {
      if (event?.$case === 'imageId') imageId = event.value;
      if (event?.$case !== 'progress') continue;
      pull = event.value;
      await display.update(pull);
    }
  } finally {
    await display.end();
  }
  if (imageId === undefined)
    throw new CommandFailure('internal', `the agent ended the pull of ${reference} without an id`);
  const image = await imageStatus(session, imageId);
  if (image === undefined) {
    throw new CommandFailure(
      'not-found',
      `image ${reference} (${imageId}) was removed right after it was pulled: pull it again`,
    );
  }
  const durationMs = performance.now() - started;
  if (!isQuiet) {
    const took = formatMilliseconds(durationMs);
    await session.note(`pulled ${reference}: ${formatBytes(Number(image.size))} in ${took}`);
  }
  return { image, pull, durationMs };
}
