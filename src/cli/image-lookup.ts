/** Images by what people type: names, ids, and the start of an id however short. */
import type { ImageSummary } from '../admin/client.js';
import { usage } from './failure.js';
import { imageStatus } from './pull.js';
import type { Session } from './session.js';
import { shortId } from './table.js';

const MOST_SHOWN = 5;

/** What the agent finds the image by, which asks for eight digits of an id; else what was typed. */
export async function imageReference(session: Session, reference: string): Promise<string> {
  const hex = reference.replace(/^sha256:/, '');
  if (!/^[0-9a-f]{1,63}$/.test(hex)) return reference;
  if ((await imageStatus(session, reference)) !== undefined) return reference;
  const admin = await session.admin();
  const { images } = await admin.images.listImages({}, { signal: session.signal });
  const found = images.filter(({ id }) => id.startsWith(`sha256:${hex}`));
  if (found.length > 1) throw ambiguous(reference, found);
  return found[0]?.id ?? reference;
}

function ambiguous(reference: string, found: readonly ImageSummary[]): Error {
  const shown = found
    .slice(0, MOST_SHOWN)
    .map(({ id, repoTags }) => [repoTags[0], `(${shortId(id)})`].join(' ').trim())
    .join(', ');
  const more = found.length > MOST_SHOWN ? `, and ${found.length - MOST_SHOWN} more` : '';
  return usage(
    `${JSON.stringify(reference)} stands for ${found.length} images: ${shown}${more}; use a name or more of the id`,
  );
}
