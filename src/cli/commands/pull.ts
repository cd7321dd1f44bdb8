/** `pvecri pull`: fetches an image. */
import type { Command } from 'commander';
import { imageDocument } from '../documents.js';
import { EXIT_OK } from '../failure.js';
import { examples } from '../option-values.js';
import { pullImage } from '../pull.js';
import type { Session } from '../session.js';

export function addPull(program: Command, session: Session): void {
  program
    .command('pull')
    .description('fetch an image and print its id')
    .argument('<reference>', 'name of a registry, or an OCI layout: oci:FOLDER, oci-archive:FILE')
    .addHelpText(
      'after',
      examples(
        'pvecri pull registry.example.org/shop/web:1.2',
        'pvecri pull oci:/root/busybox-layout',
      ),
    )
    .action((reference: string) =>
      session.act(async () => {
        const image = await pullImage(session, reference);
        if (session.json) await session.out.json(imageDocument(image));
        else await session.out.line(image.id);
        return EXIT_OK;
      }),
    );
}
