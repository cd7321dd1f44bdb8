/** `pvecri check`: looks for damage in the image store, and has it mended. */
import type { Command } from 'commander';
import {
  CheckDepth,
  FindingOutcome,
  type ImageFinding,
  type ImagesChecked,
} from '../../admin/client.js';
import { CommandFailure, EXIT_FAILED, EXIT_OK } from '../failure.js';
import { examples } from '../option-values.js';
import type { Session } from '../session.js';
import { printable } from '../table.js';

interface CheckOptions {
  content?: true;
}

export function addCheck(program: Command, session: Session): void {
  program
    .command('check')
    .description('look for damage in the images that are here, and mend it')
    .argument('[image...]', 'these alone: name, digest, id or unique prefix of one')
    .option('--content', 'compare every byte of every file, which takes as long as unpacking')
    .addHelpText('after', `${HELP}${examples('pvecri check', 'pvecri check --content web:1.2')}`)
    .action((references: string[], options: CheckOptions) =>
      session.act(() => checkImages(session, references, options)),
    );
}

const HELP = `
Layers are made anew from what is kept of them here. What cannot be mended is mended by the next
pull of its image. Ends with 0 when all is well, or is again, and with 1 when something is left.
`;

async function checkImages(
  session: Session,
  references: string[],
  { content }: CheckOptions,
): Promise<number> {
  const admin = await session.admin();
  const depth = content ? CheckDepth.CHECK_DEPTH_CONTENT : CheckDepth.CHECK_DEPTH_LISTING;
  const events = admin.images.checkImages({ references, depth }, { signal: session.signal });
  const findings: ImageFinding[] = [];
  let checked: ImagesChecked | undefined;
  for await (const { event } of events) {
    if (event?.$case === 'checked') checked = event.value;
    if (event?.$case !== 'finding') continue;
    findings.push(event.value);
    if (!session.json) await session.out.write(describe(event.value));
  }
  if (checked === undefined)
    throw new CommandFailure('internal', 'the agent did not say what it has checked');
  const { images, blobs, layers, unused } = checked;
  if (session.json) {
    const shown = findings.map((finding) => ({ ...finding, outcome: word(finding) }));
    const named = content ? 'content' : 'listing';
    await session.out.json({ depth: named, images, blobs, layers, findings: shown, unused });
  } else {
    for (const { path, reason } of unused)
      await session.out.line(`not used: ${printable(path)}: ${printable(reason)}`);
    const found = findings.length === 0 ? 'no damage' : `damage found: ${findings.length}`;
    await session.out.line(`checked ${images} images, ${layers} layers, ${blobs} blobs: ${found}`);
  }
  const isMended = findings.every(
    ({ outcome }) => outcome === FindingOutcome.FINDING_OUTCOME_MENDED,
  );
  return isMended && unused.length === 0 ? EXIT_OK : EXIT_FAILED;
}

function describe(finding: ImageFinding): string {
  const { what, digest, reason, images } = finding;
  const names = images.map(({ id, names: [name] }) => name ?? id).join(', ');
  const of = what === 'blob' && names !== '' ? ` of ${names}` : '';
  const subject = what === 'image' && names !== '' ? names : digest;
  return `${word(finding)}: ${what} ${printable(subject)}${printable(of)}: ${printable(reason)}\n`;
}

function word({ outcome }: ImageFinding): string {
  switch (outcome) {
    case FindingOutcome.FINDING_OUTCOME_MENDED:
      return 'mended';
    case FindingOutcome.FINDING_OUTCOME_INCOMPLETE:
      return 'incomplete';
    case FindingOutcome.FINDING_OUTCOME_QUARANTINED:
      return 'quarantined';
    default:
      return 'unknown';
  }
}
