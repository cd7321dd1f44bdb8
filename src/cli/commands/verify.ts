/** `pvecri verify`: whether an image is signed as a policy demands, and by whom. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { VerifyImageResponse } from '../../admin/client.js';
import { credentialsFor, type CredentialOptions } from '../credentials.js';
import { CommandFailure, EXIT_OK, usage } from '../failure.js';
import { examples } from '../option-values.js';
import type { Session } from '../session.js';
import { printable } from '../table.js';
import { addCredentialOptions } from './pull.js';

interface VerifyOptions extends CredentialOptions {
  key?: string;
  policy?: string;
}

/** What the agent takes as one message, and more than any key or policy has. */
const MAX_FILE_BYTES = 1 << 20;

export function addVerify(program: Command, session: Session): void {
  const verify = program
    .command('verify')
    .description("check an image's signatures; fetches no layer")
    .argument('<image>', 'as for pull, or the id of an image that is here')
    .option('--key <FILE>', 'signed by this public key, under whatever name')
    .option('--policy <FILE>', "by this policy file, not by the agent's own");
  addCredentialOptions(verify)
    .addHelpText(
      'after',
      examples(
        'pvecri verify registry.example.org/shop/web:1.2',
        'pvecri verify --key cosign.pub registry.example.org/shop/web:1.2',
      ),
    )
    .action((reference: string, options: VerifyOptions) =>
      session.act(() => verifyImage(session, reference, options)),
    );
}

async function verifyImage(
  session: Session,
  reference: string,
  options: VerifyOptions,
): Promise<number> {
  const { key, policy } = options;
  if (key !== undefined && policy !== undefined)
    throw usage('--key and --policy exclude each other');
  const auth = await credentialsFor(session, reference, options);
  const instead =
    key !== undefined
      ? ({ $case: 'key', value: await readArgument(key) } as const)
      : policy !== undefined
        ? ({ $case: 'policy', value: await readArgument(policy) } as const)
        : undefined;
  const admin = await session.admin();
  const verified = await admin.images.verifyImage(
    { reference, auth, instead },
    { signal: session.signal },
  );
  if (session.json) await session.out.json({ reference, ...verified });
  else await session.out.write(describe(reference, verified));
  return EXIT_OK;
}

function describe(reference: string, verified: VerifyImageResponse): string {
  const { repoDigest, imageId, where, verifications } = verified;
  const lines: [string, string][] = [
    ['Image', reference],
    ['Digest', repoDigest],
    ['Here', imageId === '' ? 'no' : imageId],
    ['Accepted by', where],
  ];
  if (verifications.length === 0) lines.push(['Signature', 'none is needed']);
  for (const { key, fingerprint, digest, identity } of verifications) {
    lines.push(['Signed by', `${key} (${fingerprint})`]);
    lines.push(['as', identity === '' ? 'a digest alone, without a name' : identity]);
    if (!repoDigest.endsWith(digest)) lines.push(['of', digest]);
  }
  return lines.map(([name, value]) => `${`${name}:`.padEnd(13)}${printable(value)}\n`).join('');
}

async function readArgument(path: string): Promise<{ name: string; content: Buffer }> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandFailure('usage', `cannot read ${path}: ${why}`, error);
  }
  if (content.length <= MAX_FILE_BYTES) return { name: path, content };
  throw new CommandFailure('usage', `${path} is larger than ${MAX_FILE_BYTES} bytes`);
}
