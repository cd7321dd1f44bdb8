/** `pvecri push` and `pvecri tag`: an image to a registry, and one more name for it. */
import type { Command } from 'commander';
import { LayerState, PushState } from '../../admin/client.js';
import type { Pull, Push } from '../../admin/client.js';
import { credentialsFor } from '../credentials.js';
import { CommandFailure, EXIT_OK } from '../failure.js';
import { formatBytes, formatMilliseconds } from '../human-units.js';
import { imageReference } from '../image-lookup.js';
import { examples } from '../option-values.js';
import { NO_DISPLAY, pullDisplay } from '../pull-display.js';
import type { PullCommandOptions } from '../pull.js';
import type { Session } from '../session.js';
import { addCredentialOptions, CREDENTIALS_HELP } from './pull.js';

export function addPush(program: Command, session: Session): void {
  const push = program
    .command('push')
    .description('send an image to a registry and print the digest of its manifest')
    .argument('<image>', 'name, digest, id or unique prefix of one')
    .argument('[destination]', 'name in a registry; the image if not given')
    .option('-q, --quiet', 'show no progress');
  addCredentialOptions(push)
    .addHelpText(
      'after',
      CREDENTIALS_HELP +
        examples(
          'pvecri push registry.example.org/shop/web:1.2',
          'pvecri push web:1.2 registry.example.org/shop/web:1.2 --creds deploy',
        ),
    )
    .action((image: string, destination: string | undefined, options: PullCommandOptions) =>
      session.act(() => pushImage(session, image, destination ?? image, options)),
    );
}

export function addTag(program: Command, session: Session): void {
  program
    .command('tag')
    .description('give an image one more name and print its id')
    .argument('<image>', 'name, digest, id or unique prefix of one')
    .argument('<name>', 'the new name; whichever image had it loses it')
    .addHelpText('after', examples('pvecri tag web:1.2 registry.example.org/shop/web:latest'))
    .action((reference: string, name: string) =>
      session.act(async () => {
        const admin = await session.admin();
        const { imageId } = await admin.images.tagImage(
          { reference: await imageReference(session, reference), name },
          { signal: session.signal },
        );
        if (session.json) await session.out.json({ id: imageId });
        else await session.out.line(imageId);
        return EXIT_OK;
      }),
    );
}

async function pushImage(
  session: Session,
  reference: string,
  destination: string,
  options: PullCommandOptions,
): Promise<number> {
  const auth = await credentialsFor(session, destination, options);
  const admin = await session.admin();
  const started = performance.now();
  const isQuiet = options.quiet === true || session.json;
  const words = { title: 'pushing', moving: 'uploading' };
  const display = isQuiet ? NO_DISPLAY : pullDisplay(session.err, destination, words);
  let pushed: { digest: string; sentBytes: bigint } | undefined;
  try {
    const events = admin.images.pushImage(
      { reference: await imageReference(session, reference), destination, auth },
      { signal: session.signal },
    );
    for await (const { event } of events) {
      if (event?.$case === 'pushed') pushed = event.value;
      if (event?.$case === 'progress') await display.update(asPull(destination, event.value));
    }
  } finally {
    await display.end();
  }
  if (pushed === undefined)
    throw new CommandFailure('internal', `the agent ended the push of ${reference} without a word`);
  const { digest } = pushed;
  const sentBytes = Number(pushed.sentBytes);
  const durationMs = performance.now() - started;
  if (session.json) await session.out.json({ destination, digest, sentBytes, durationMs });
  else await session.out.line(digest);
  if (!isQuiet) {
    const took = formatMilliseconds(durationMs);
    await session.note(`pushed ${destination}: ${formatBytes(sentBytes)} in ${took}`);
  }
  return EXIT_OK;
}

/** Shown like a pull: what is sent has nothing that comes after it. */
function asPull(reference: string, { blobs }: Push): Pull {
  return {
    reference,
    startedAt: 0n,
    layers: blobs.map(({ digest, size, sentBytes, state }) => ({
      digest,
      size,
      downloadedBytes: sentBytes,
      unpackedBytes: sentBytes,
      state: STATES[state] ?? LayerState.LAYER_STATE_WAITING,
    })),
  };
}

const STATES: Readonly<Record<number, LayerState>> = {
  [PushState.PUSH_STATE_WAITING]: LayerState.LAYER_STATE_WAITING,
  [PushState.PUSH_STATE_UPLOADING]: LayerState.LAYER_STATE_DOWNLOADING,
  [PushState.PUSH_STATE_DONE]: LayerState.LAYER_STATE_DONE,
  [PushState.PUSH_STATE_PRESENT]: LayerState.LAYER_STATE_PRESENT,
  [PushState.PUSH_STATE_MOUNTED]: LayerState.LAYER_STATE_PRESENT,
};
