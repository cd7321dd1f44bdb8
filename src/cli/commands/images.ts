/** `pvecri images` and `pvecri rmi`: the images the agent has. */
import type { Command } from 'commander';
import { ImageStatusRequest, ListImagesRequest, RemoveImageRequest } from '../../cri/gen/index.js';
import type { Image } from '../../cri/gen/index.js';
import { imageDocument } from '../documents.js';
import { CommandFailure, EXIT_OK } from '../failure.js';
import { forEachObject } from '../for-each-object.js';
import { formatBytes } from '../human-units.js';
import { examples } from '../option-values.js';
import type { Session } from '../session.js';
import { formatTable, shortId } from '../table.js';

export function addImages(program: Command, session: Session): void {
  program
    .command('images')
    .description('list images')
    .argument('[image]', 'only this image')
    .option('-q, --quiet', 'print ids alone')
    .option('--digests', 'show digests instead of tags')
    .addHelpText('after', examples('pvecri images', 'pvecri images --digests', 'pvecri images -q'))
    .action((reference: string | undefined, options: { quiet?: true; digests?: true }) =>
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
  options: { quiet?: true; digests?: true },
): Promise<number> {
  const cri = await session.cri();
  const filter = reference === undefined ? {} : { image: { image: reference } };
  const { images } = await cri.image.listImages(ListImagesRequest.create({ filter }), {
    signal: session.signal,
  });
  images.sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
  if (session.json) {
    await session.out.json(images.map(imageDocument));
  } else if (options.quiet) {
    for (const image of images) await session.out.line(image.id);
  } else {
    const rows = images.flatMap((image) => {
      const names = options.digests ? image.repoDigests : image.repoTags;
      return (names.length > 0 ? names : ['<none>']).map((name) => [
        name,
        shortId(image.id),
        formatBytes(Number(image.size)),
      ]);
    });
    await session.out.write(formatTable(['IMAGE', 'IMAGE ID', 'SIZE'], rows));
  }
  return EXIT_OK;
}

function nameOf(image: Image): string {
  return image.repoTags[0] ?? image.repoDigests[0] ?? image.id;
}

/** RemoveImage answers OK for an image that is not there; a person wants to know. */
async function removeImages(session: Session, references: string[]): Promise<number> {
  const cri = await session.cri();
  const { signal } = session;
  return forEachObject(session, references, async (reference) => {
    const { image } = await cri.image.imageStatus(
      ImageStatusRequest.create({ image: { image: reference } }),
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
