/** `pvecri prune`: removes the images that no container uses. */
import type { Command } from 'commander';
import type { PrunedImage } from '../../admin/client.js';
import { CommandFailure, EXIT_FAILED, EXIT_OK, usage } from '../failure.js';
import { formatBytes } from '../human-units.js';
import { duration, examples } from '../option-values.js';
import { askLine } from '../question.js';
import type { Session } from '../session.js';
import { formatTable, printable, shortId } from '../table.js';

interface PruneOptions {
  all?: true;
  yes?: true;
  dryRun?: true;
  olderThan?: number;
}

export function addPrune(program: Command, session: Session): void {
  program
    .command('prune')
    .description('remove the images without a name that no container uses')
    .option('-a, --all', 'also those with names')
    .option('--older-than <TIME>', 'only what was pulled longer ago than this', duration)
    .option('--dry-run', 'only show what would be removed')
    .option('-y, --yes', 'do not ask')
    .addHelpText(
      'after',
      examples(
        'pvecri prune',
        'pvecri prune --all --older-than 7d',
        'pvecri prune --all --dry-run',
      ),
    )
    .action((options: PruneOptions) => session.act(() => prune(session, options)));
}

async function prune(session: Session, options: PruneOptions): Promise<number> {
  const mayAsk = session.terminal !== undefined && !session.json;
  if (!options.yes && !options.dryRun && !mayAsk)
    throw usage('prune asks on a terminal alone: say --yes, or look with --dry-run');
  const admin = await session.admin();
  const { signal } = session;
  const { olderThan } = options;
  const request = {
    all: options.all === true,
    pulledBefore: olderThan === undefined ? 0n : BigInt(Date.now() - olderThan) * 1_000_000n,
  };
  if (!options.yes) {
    const planned = await admin.images.pruneImages({ ...request, dryRun: true }, { signal });
    const images = planned.removed;
    if (options.dryRun && session.json) {
      await session.out.json({ removed: images.map(document), failed: [], freedBytes: 0 });
      return EXIT_OK;
    }
    if (images.length === 0) {
      await session.note('there is nothing to remove');
      return EXIT_OK;
    }
    await session.out.write(imageTable(images));
    if (options.dryRun) return EXIT_OK;
    const count = images.length === 1 ? 'this image' : `these ${images.length} images`;
    const answer = await askLine(session, `Remove ${count}? [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim()))
      throw new CommandFailure('cancelled', 'nothing was removed');
  }
  const { removed, failed, freedBytes } = await admin.images.pruneImages(
    { ...request, dryRun: false },
    { signal, timeoutMs: 0 },
  );
  if (session.json) {
    await session.out.json({
      removed: removed.map(document),
      failed: failed.map((image) => ({ ...document(image), reason: image.reason })),
      freedBytes: Number(freedBytes),
    });
  } else {
    for (const { id } of removed) await session.out.line(id);
    await session.note(`removed ${removed.length}, freed ${formatBytes(Number(freedBytes))}`);
  }
  for (const { id, reason } of failed)
    await session.err.line(`pvecri: cannot remove image ${id}: ${printable(reason)}`);
  return failed.length > 0 ? EXIT_FAILED : EXIT_OK;
}

function imageTable(images: readonly PrunedImage[]): string {
  const rows = images.map(({ id, names, size }) => [
    names.join(', ') || '<none>',
    shortId(id),
    formatBytes(Number(size)),
  ]);
  return formatTable(['IMAGE', 'IMAGE ID', 'SIZE'], rows);
}

function document({ id, names, size }: PrunedImage): object {
  return { id, names, size: Number(size) };
}
