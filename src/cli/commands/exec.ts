/** `pvecri exec`: runs a command in a container, at the terminal or in a pipe. */
import type { Command } from 'commander';
import { ExecSyncRequest } from '../../cri/gen/index.js';
import { listInventory } from '../agent-queries.js';
import { EXIT_OK, usage } from '../failure.js';
import { findContainer } from '../lookup.js';
import { duration, examples } from '../option-values.js';
import type { Session } from '../session.js';
import { runStream } from '../stream-session.js';

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
    .option('-i, --interactive', 'pass stdin on to the command')
    .option('-t, --tty', 'give the command a terminal')
    .option('--timeout <TIME>', 'kill the command after this time (exit code 124)', duration)
    .addHelpText(
      'after',
      '\nThe command and what it started end with this one. With --json its output is kept, at most\n16 MiB of each stream, and printed at the end.\n' +
        examples(
          'pvecri exec web/proxy -- ls -l /etc',
          'pvecri exec -it web/proxy -- sh',
          'pvecri exec -i db/main -- psql < dump.sql',
          'pvecri exec 3f9a --timeout 5s -- sleep 60',
        ),
    )
    .action((reference: string, command: string[], options: ExecOptions) =>
      session.act(() =>
        session.json
          ? execute(session, reference, command, options)
          : stream(session, reference, command, options),
      ),
    );
}

async function stream(
  session: Session,
  reference: string,
  command: string[],
  options: ExecOptions,
): Promise<number> {
  const tty = options.tty === true;
  const stdin = options.interactive === true;
  const { terminal } = session;
  if (tty && stdin && terminal === undefined)
    throw usage('-t with -i needs a terminal at stdin and stdout: leave -t out to pass on a pipe');
  const cri = await session.cri();
  const container = findContainer(await listInventory(cri, session.signal), reference);
  const admin = await session.admin();
  const size = tty ? terminal?.size() : undefined;
  const code = await runStream(
    session,
    admin.exec({
      containerId: container.id,
      command,
      tty,
      stdin,
      timeoutMs: BigInt(options.timeout ?? 0),
      endWithCaller: true,
      ...(size && { size }),
    }),
    { stdin, detachKeys: false },
  );
  return code ?? EXIT_OK;
}

/** The whole output in one document. */
async function execute(
  session: Session,
  reference: string,
  command: string[],
  options: ExecOptions,
): Promise<number> {
  if (options.interactive === true || options.tty === true)
    throw usage('--json keeps the output in a document: it cannot be combined with -i or -t');
  const cri = await session.cri();
  const container = findContainer(await listInventory(cri, session.signal), reference);
  // CRI counts in whole seconds, and takes 0 for no limit.
  const seconds =
    options.timeout === undefined ? 0 : Math.max(1, Math.ceil(options.timeout / 1000));
  const { stdout, stderr, exitCode } = await cri.runtime.execSync(
    ExecSyncRequest.create({ containerId: container.id, cmd: command, timeout: BigInt(seconds) }),
    { signal: session.signal, timeoutMs: seconds === 0 ? 0 : seconds * 1000 + MARGIN_MS },
  );
  await session.out.json({
    exitCode,
    stdout: stdout.toString('utf8'),
    stderr: stderr.toString('utf8'),
  });
  return exitCode;
}
