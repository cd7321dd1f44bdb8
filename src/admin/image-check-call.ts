/** The check of the image store on the admin service. */
import { RuntimeError } from '../core/errors.js';
import type { CheckDepth as Depth, ImageFinding as Finding } from '../core/image-check.js';
import type { ImageId } from '../core/ids.js';
import type { RuntimeContext } from '../runtime/context.js';
import { checkImages as check } from '../runtime/image-check.js';
import { HUNG_UP } from './caller.js';
import type { Caller } from './event-stream.js';
import {
  CheckDepth,
  FindingOutcome,
  type CheckImagesEvent,
  type CheckImagesRequest,
  type ImageFinding,
} from './gen/admin.js';

export async function checkImages(
  context: RuntimeContext,
  { references, depth }: CheckImagesRequest,
  { gone, send }: Caller<CheckImagesEvent>,
): Promise<void> {
  const chosen = references.map((reference) => idOf(context, reference));
  const enough = new AbortController();
  const end = new AbortController();
  const leave = (): void => {
    // A caller who hangs up wants no more looking; the agent's own end waits for nothing.
    (gone.reason === HUNG_UP ? enough : end).abort(gone.reason);
  };
  if (gone.aborted) leave();
  else gone.addEventListener('abort', leave, { once: true });
  let sent = Promise.resolve();
  const tell = (event: CheckImagesEvent['event']): void => {
    sent = sent.then(() => send({ event }));
    // It fails when the caller is gone, which the check is told by `enough`.
    sent.catch(() => undefined);
  };
  const { images, blobs, layers } = await check(context, {
    depth: depthOf(depth),
    ...(chosen.length > 0 && { images: new Set(chosen) }),
    signal: end.signal,
    enough: enough.signal,
    onFinding: (finding) => {
      tell({ $case: 'finding', value: toFinding(finding) });
    },
  });
  const unused = chosen.length > 0 ? [] : context.images.unreadable();
  tell({ $case: 'checked', value: { images, blobs, layers, unused } });
  await sent;
}

function idOf({ images }: RuntimeContext, reference: string): ImageId {
  if (reference === '')
    throw new RuntimeError('invalid-argument', 'CheckImages: a reference is empty: name an image');
  const image = images.find(reference);
  if (image) return image.id;
  throw new RuntimeError('not-found', `there is no image ${JSON.stringify(reference)}`);
}

function depthOf(depth: CheckDepth): Depth {
  if (depth === CheckDepth.CHECK_DEPTH_LISTING) return 'listing';
  if (depth === CheckDepth.CHECK_DEPTH_CONTENT) return 'content';
  throw new RuntimeError('invalid-argument', `CheckImages: depth ${depth} is unknown`);
}

function toFinding({ what, digest, reason, outcome, images }: Finding): ImageFinding {
  return { what, digest, reason, outcome: OUTCOMES[outcome], images };
}

const OUTCOMES: Readonly<Record<Finding['outcome'], FindingOutcome>> = {
  mended: FindingOutcome.FINDING_OUTCOME_MENDED,
  incomplete: FindingOutcome.FINDING_OUTCOME_INCOMPLETE,
  quarantined: FindingOutcome.FINDING_OUTCOME_QUARANTINED,
};
