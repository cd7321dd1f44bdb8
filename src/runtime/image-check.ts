/** Looks for damage in the image store, mends what can be mended, and says so in the log. */
import type { CheckOptions, ImageCheck } from '../core/image-check.js';
import type { RuntimeContext } from './context.js';

/** What runs goes on, whatever is found. */
export async function checkImages(
  context: RuntimeContext,
  options: CheckOptions,
): Promise<ImageCheck> {
  const check = await context.images.check(options);
  for (const finding of check.findings) {
    const { what, digest, reason, outcome } = finding;
    const names = finding.images.flatMap((image) => image.names);
    const level = outcome === 'quarantined' ? 'error' : 'warn';
    context.log[level](
      { what, digest, reason, images: names },
      `found damage in the image store: ${OUTCOMES[outcome]}`,
    );
  }
  const { depth, images, blobs, layers, findings } = check;
  context.log.info(
    { depth, images, blobs, layers, findings: findings.length },
    'checked the image store',
  );
  return check;
}

const OUTCOMES = {
  mended: 'it is mended',
  incomplete: 'its images run, but cannot be saved, pushed or mended until they are pulled again',
  quarantined: 'its images are not listed until they are pulled again',
} as const;

/** The check that is due after this start, in the background; ends with the signal. */
export async function checkAfterStart(context: RuntimeContext, signal: AbortSignal): Promise<void> {
  const depth = context.images.dueCheck();
  if (depth === null) return;
  context.log.warn(
    { depth },
    depth === 'known'
      ? 'images lack layers: making them anew'
      : 'the host ended without this agent having been stopped: looking for damage in the image store',
  );
  try {
    await checkImages(context, { depth, gentle: true, signal });
  } catch (error) {
    if (signal.aborted) return;
    context.log.error({ err: error }, 'cannot check the image store; the next start tries again');
  }
}
