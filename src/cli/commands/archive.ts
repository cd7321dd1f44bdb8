/** `pvecri save` and `pvecri load`: images to an archive and back. */
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { Option, type Command } from 'commander';
import { ArchiveFormat } from '../../admin/client.js';
import { writeOutputFile } from '../archive-file.js';
import { CommandFailure, EXIT_OK, usage } from '../failure.js';
import { formatBytes } from '../human-units.js';
import { imageReference } from '../image-lookup.js';
import { examples } from '../option-values.js';
import { NO_DISPLAY, pullDisplay } from '../pull-display.js';
import type { Session } from '../session.js';

/** Standard output or input, by an old habit. */
const STANDARD = '-';

interface SaveOptions {
  output?: string;
  format: 'oci-archive' | 'docker-archive';
}

export function addSave(program: Command, session: Session): void {
  program
    .command('save')
    .description('write images to a tar archive')
    .argument('<image...>', 'name, digest, id or unique prefix of one')
    .option('-o, --output <FILE>', 'the archive; standard output if not given, or -')
    .addOption(
      new Option('--format <FORMAT>', 'an OCI image layout, or what docker save writes')
        .choices(['oci-archive', 'docker-archive'])
        .default('oci-archive'),
    )
    .addHelpText(
      'after',
      '\nAn image that is named by a tag has that tag in the archive, one that is named otherwise all its tags.\n' +
        examples(
          'pvecri save web:1.2 -o web.tar',
          'pvecri save --format docker-archive web:1.2 | ssh other docker load',
        ),
    )
    .action((references: string[], options: SaveOptions) =>
      session.act(() => saveImages(session, references, options)),
    );
}

export function addLoad(program: Command, session: Session): void {
  program
    .command('load')
    .description('take the images out of an archive and print their ids')
    .option('-i, --input <FILE>', 'the archive; standard input if not given, or -')
    .option('-q, --quiet', 'show no progress')
    .addHelpText(
      'after',
      '\nThe archive holds an OCI image layout or is what docker save writes; gzip, zstd and xz are undone.\n' +
        examples('pvecri load -i web.tar', 'ssh other docker save web:1.2 | pvecri load'),
    )
    .action((options: { input?: string; quiet?: true }) =>
      session.act(() => loadImages(session, options)),
    );
}

async function saveImages(
  session: Session,
  references: string[],
  { output: file, format }: SaveOptions,
): Promise<number> {
  const output = file === STANDARD ? undefined : file;
  if (output === undefined && session.out.isTerminal)
    throw usage('an archive is nothing for a terminal: use -o FILE, or redirect the output');
  if (output === undefined && session.json)
    throw usage('--json needs -o FILE: standard output has the archive');
  const admin = await session.admin();
  const wire =
    format === 'oci-archive'
      ? ArchiveFormat.ARCHIVE_FORMAT_OCI
      : ArchiveFormat.ARCHIVE_FORMAT_DOCKER;
  const chosen: string[] = [];
  for (const reference of references) chosen.push(await imageReference(session, reference));
  const pieces = admin.images.saveImages(
    { references: chosen, format: wire },
    { signal: session.signal },
  );
  if (output === undefined) {
    for await (const { data } of pieces) await session.out.write(data);
    return EXIT_OK;
  }
  const bytes = await writeOutputFile(output, dataOf(pieces));
  if (session.json) await session.out.json({ file: output, bytes, format });
  else await session.note(`saved ${references.join(', ')}: ${formatBytes(bytes)} in ${output}`);
  return EXIT_OK;
}

async function* dataOf(pieces: AsyncIterable<{ data: Buffer }>): AsyncGenerator<Buffer> {
  for await (const { data } of pieces) yield data;
}

async function loadImages(
  session: Session,
  { input: file, quiet }: { input?: string; quiet?: true },
): Promise<number> {
  const input = file === STANDARD ? undefined : file;
  if (input === undefined && session.isInputTerminal)
    throw usage('an archive is nothing to be typed: use -i FILE, or redirect the input');
  const admin = await session.admin();
  const archive = input === undefined ? session.input() : readInput(input);
  const isQuiet = quiet === true || session.json;
  const words = { title: 'loading', moving: 'reading' };
  const display = isQuiet ? NO_DISPLAY : pullDisplay(session.err, input ?? 'standard input', words);
  const loaded: { id: string; names: string[] }[] = [];
  try {
    const name = input === undefined ? '' : basename(input);
    for await (const event of admin.loadImages(name, archive, session.signal)) {
      if (event.$case === 'progress') await display.update(event.value);
      else loaded.push({ id: event.value.id, names: event.value.names });
    }
  } finally {
    await display.end();
    session.releaseInput();
  }
  if (session.json) await session.out.json(loaded);
  for (const { id, names } of session.json ? [] : loaded) {
    await session.out.line(id);
    if (!isQuiet) await session.note(`loaded ${names.join(', ') || 'an image without a name'}`);
  }
  return EXIT_OK;
}

async function* readInput(path: string): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 256 << 10 })) {
      yield chunk as Buffer;
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandFailure('usage', `cannot read ${path}: ${why}`, error);
  }
}
