/** `pvecri images` and `pvecri rmi`: the images the agent has. */
import type { Command } from 'commander';
import type { ImageSummary } from '../../admin/client.js';
import { ImageStatusRequest, RemoveImageRequest } from '../../cri/gen/index.js';
import { summaryDocument } from '../documents.js';
import { CommandFailure, EXIT_OK } from '../failure.js';
import { forEachObject } from '../for-each-object.js';
import { formatAge, formatBytes } from '../human-units.js';
import {
  createdAt,
  filterImages,
  imageFilter,
  sortKey,
  type ImageFilter,
  type SortKey,
} from '../image-filter.js';
import { imageReference } from '../image-lookup.js';
import { examples } from '../option-values.js';
import { imageStatus } from '../pull.js';
import type { Session } from '../session.js';
import { formatTable, shortId } from '../table.js';

interface ListOptions {
  quiet?: true;
  digests?: true;
  filter?: ImageFilter[];
  sort: SortKey;
}

export function addImages(program: Command, session: Session): void {
  program
    .command('images')
    .description('list images')
    .argument('[image]', 'only this image')
    .option('-q, --quiet', 'print ids alone')
    .option('--digests', 'show digests instead of tags')
    .option(
      '-f, --filter <KEY=VALUE>',
      'dangling=true|false, reference=PATTERN, label=KEY[=VALUE], before=IMAGE or since=IMAGE; all of them must hold',
      imageFilter,
    )
    .option('--sort <KEY>', 'name, size or created', sortKey, 'name')
    .addHelpText(
      'after',
      examples(
        'pvecri images',
        'pvecri images --filter reference=registry.example.org/shop/*',
        'pvecri images --filter dangling=true -q',
        'pvecri images --sort size --json',
      ),
    )
    .action((reference: string | undefined, options: ListOptions) =>
      session.act(() => listImages(session, reference, options)),
    );
  program
    .command('rmi')
    .description('remove images, each with all of its tags')
    .argument('<image...>', 'name, digest, id or unique prefix of one')
    .addHelpText('after', examples('pvecri rmi docker.io/library/busybox:1.36'))
    .action((references: string[]) => session.act(() => removeImages(session, references)));
}

async function listImages(
  session: Session,
  reference: string | undefined,
  { quiet, digests, filter = [], sort }: ListOptions,
): Promise<number> {
  const admin = await session.admin();
  const { images } = await admin.images.listImages({}, { signal: session.signal });
  const only = reference === undefined ? undefined : await idOf(session, reference);
  const chosen = filterImages(images, filter)
    .filter(({ id }) => reference === undefined || id === only)
    .sort(ORDERS[sort]);
  if (session.json) {
    await session.out.json(chosen.map(summaryDocument));
  } else if (quiet) {
    for (const image of chosen) await session.out.line(image.id);
  } else {
    const now = Date.now();
    const rows = chosen.flatMap((image) => {
      const names = digests ? image.repoDigests : image.repoTags;
      return (names.length > 0 ? names : ['<none>']).map((name) => [
        name,
        shortId(image.id),
        formatCreated(image, now),
        formatBytes(Number(image.size)),
      ]);
    });
    await session.out.write(formatTable(['IMAGE', 'IMAGE ID', 'CREATED', 'SIZE'], rows));
  }
  return EXIT_OK;
}

const ORDERS: Readonly<Record<SortKey, (a: ImageSummary, b: ImageSummary) => number>> = {
  name: (a, b) => nameOf(a).localeCompare(nameOf(b)),
  size: (a, b) => Number(b.size - a.size),
  created: (a, b) => createdAt(b) - createdAt(a),
};

async function idOf(session: Session, reference: string): Promise<string | undefined> {
  return (await imageStatus(session, await imageReference(session, reference)))?.id;
}

/** Of images that are made the same from the same every time the config says 1970, or nothing. */
function formatCreated(image: ImageSummary, now: number): string {
  const created = createdAt(image);
  return created > 0 ? `${formatAge(now - created)} ago` : '-';
}

function nameOf(image: ImageSummary): string {
  return image.repoTags[0] ?? image.repoDigests[0] ?? image.id;
}

/** RemoveImage answers OK for an image that is not there; a person wants to know. */
async function removeImages(session: Session, references: string[]): Promise<number> {
  const cri = await session.cri();
  const { signal } = session;
  return forEachObject(session, references, async (reference) => {
    const { image } = await cri.image.imageStatus(
      ImageStatusRequest.create({ image: { image: await imageReference(session, reference) } }),
      { signal },
    );
    if (image === undefined) {
      throw new CommandFailure(
        'not-found',
        `no image ${JSON.stringify(reference)}; see pvecri images`,
      );
    }
    await cri.image.removeImage(RemoveImageRequest.create({ image: { image: image.id } }), {
      signal,
    });
    return image.id;
  });
}
