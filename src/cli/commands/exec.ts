/** `pvecri exec`: runs a command in a container and waits for it. */
import type { Command } from 'commander';
import { ExecSyncRequest } from '../../cri/gen/index.js';
import { listInventory } from '../agent-queries.js';
import { CommandFailure } from '../failure.js';
import { findContainer } from '../lookup.js';
import { duration, examples } from '../option-values.js';
import type { Session } from '../session.js';

interface ExecOptions {
  interactive?: true;
  tty?: true;
  timeout?: number;
}

/** What the answer may take beyond the command's own limit. */
const MARGIN_MS = 120_000;

export function addExec(program: Command, session: Session): void {
  program
    .command('exec')
    .description('run a command in a container; its exit code becomes this one')
    .argument('<container>', 'name, POD/CONTAINER, id or unique prefix of one')
    .argument('<command...>', 'put -- before it, so that its options stay its own')
    .option('-i, --interactive', 'not available yet: needs streaming')
    .option('-t, --tty', 'not available yet: needs streaming')
    .option('--timeout <TIME>', 'kill the command after this time (exit code 124)', duration)
    .addHelpText(
      'after',
      '\nOutput is shown when the command has ended, at most 16 MiB of each stream.\n' +
        examples(
          'pvecri exec web/proxy -- ls -l /etc',
          'pvecri exec 3f9a --timeout 5s -- sleep 60',
        ),
    )
    .action((reference: string, command: string[], options: ExecOptions) =>
      session.act(() => execute(session, reference, command, options)),
    );
}

async function execute(
  session: Session,
  reference: string,
  command: string[],
  options: ExecOptions,
): Promise<number> {
  if (options.interactive || options.tty) {
    throw new CommandFailure(
      'unimplemented',
      'interactive exec (-i, -t) needs the streaming server, which does not serve exec yet; without them a command runs and its output is shown',
    );
  }
  const cri = await session.cri();
  const container = findContainer(await listInventory(cri, session.signal), reference);
  // CRI counts in whole seconds, and takes 0 for no limit.
  const seconds =
    options.timeout === undefined ? 0 : Math.max(1, Math.ceil(options.timeout / 1000));
  const { stdout, stderr, exitCode } = await cri.runtime.execSync(
    ExecSyncRequest.create({ containerId: container.id, cmd: command, timeout: BigInt(seconds) }),
    { signal: session.signal, timeoutMs: seconds === 0 ? 0 : seconds * 1000 + MARGIN_MS },
  );
  if (session.json) {
    await session.out.json({
      exitCode,
      stdout: stdout.toString('utf8'),
      stderr: stderr.toString('utf8'),
    });
  } else {
    await session.out.write(stdout);
    await session.err.write(stderr);
  }
  return exitCode;
}
