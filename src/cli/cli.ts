/** The `pvecri` command, but for `pvecri agent`: arguments in, exit code out. */
import { Command, CommanderError } from 'commander';
import { VERSION } from '../version.js';
import { addCompletion } from './commands/completion.js';
import { addAttach } from './commands/attach.js';
import { addCheck } from './commands/check.js';
import { addDoctor } from './commands/doctor.js';
import { addExec } from './commands/exec.js';
import { addImages } from './commands/images.js';
import { addInspect } from './commands/inspect.js';
import { addLogs } from './commands/logs.js';
import { addPods } from './commands/pods.js';
import { addPs } from './commands/ps.js';
import { addLoad, addSave } from './commands/archive.js';
import { addPrune } from './commands/prune.js';
import { addPull } from './commands/pull.js';
import { addPush, addTag } from './commands/push.js';
import { addRun } from './commands/run.js';
import { addStats } from './commands/stats.js';
import { addVerify } from './commands/verify.js';
import { addRm, addStop } from './commands/stop.js';
import { CommandFailure, EXIT_OK, asFailure, exitCodeOf, usage } from './failure.js';
import { examples } from './option-values.js';
import { processTerminal } from './terminal.js';
import { printable } from './table.js';
import { Session } from './session.js';
import type { GlobalOptions, Host } from './session.js';

const EXIT_CODES = `
Exit codes:
  0    done
  1    the operation failed
  2    wrong usage, or a manifest or configuration that is not valid
  3    no such pod, container or image
  4    the agent can't be reached, or is not ready yet
  124  time-out
  130  interrupted
  exec, attach and run --wait end with the exit code of the command in the container.
`;

/** `argv` is what stands behind the command's own name. */
export async function runCli(argv: string[], host?: Host): Promise<number> {
  if (host !== undefined) return runOn(host, argv);
  const { host: own, release } = ownProcess();
  try {
    return await runOn(own, argv);
  } finally {
    release();
  }
}

async function runOn(host: Host, argv: string[]): Promise<number> {
  const session = new Session(host);
  try {
    await program(session, host).parseAsync(argv, { from: 'user' });
    return readerLeft(host.signal) ? EXIT_OK : session.exitCode;
  } catch (error) {
    // Help and version were asked for and printed.
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT_OK;
    if (readerLeft(host.signal)) return EXIT_OK;
    return await fail(session, host, error, session.json || asksForJson(argv));
  } finally {
    session.close();
  }
}

/** Text for the person on stderr; with --json also a document on stdout, where a program reads. */
async function fail(
  session: Session,
  host: Host,
  error: unknown,
  isJson: boolean,
): Promise<number> {
  const failure = host.signal.aborted
    ? new CommandFailure('interrupted', 'interrupted', error)
    : error instanceof CommanderError
      ? usage(error.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' '))
      : asFailure(error);
  const { kind, message } = failure;
  await session.err.line(`pvecri: ${printable(message)}`);
  if (isJson && !host.signal.aborted) {
    await session.out.json({ error: { kind, message } });
  }
  return exitCodeOf(kind);
}

/** For arguments that could not be understood; what stands behind `--` is another command's. */
function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return argv.slice(0, end < 0 ? undefined : end).includes('--json');
}

function program(session: Session, host: Host): Command {
  const root = new Command('pvecri')
    .description('Runs Kubernetes pods as LXC containers on this node.')
    .option('--socket <PATH>', "the agent's CRI socket; the configuration's if not given")
    .option('--config <FILE>', 'configuration; /etc/pvecri/config.toml if not given')
    .option('--json', 'print documents for programs, failures as {"error": …} too')
    .version(`pvecri ${VERSION}`, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void host.stdout.write(text),
      writeErr: (text) => void host.stderr.write(text),
      // Told once, by fail().
      outputError: () => undefined,
    })
    .configureHelp({ showGlobalOptions: true })
    .addHelpText(
      'after',
      `\nThe agent itself runs by: pvecri agent (see pvecri agent --help)\n${EXIT_CODES}` +
        examples(
          'pvecri doctor',
          'pvecri run examples/web-pod.yaml',
          'pvecri ps',
          'pvecri logs -f web/server',
        ),
    )
    .hook('preAction', (command) => {
      session.setOptions(command.opts<GlobalOptions>());
    });
  addRun(root, session);
  addPods(root, session);
  addPs(root, session);
  addLogs(root, session);
  addExec(root, session);
  addAttach(root, session);
  addStats(root, session);
  addInspect(root, session);
  addStop(root, session);
  addRm(root, session);
  addImages(root, session);
  addPull(root, session);
  addPush(root, session);
  addTag(root, session);
  addSave(root, session);
  addLoad(root, session);
  addPrune(root, session);
  addVerify(root, session);
  addCheck(root, session);
  addDoctor(root, session);
  addCompletion(root, session);
  return root;
}

const READER_LEFT = new Error('the reader of stdout went away');

function readerLeft(signal: AbortSignal): boolean {
  return signal.aborted && signal.reason === READER_LEFT;
}

/** The real process: signals and a broken pipe abort the work. */
function ownProcess(): { host: Host; release: () => void } {
  const controller = new AbortController();
  const release = (): void => {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal).off('SIGHUP', onSignal);
  };
  const onSignal = (name: NodeJS.Signals): void => {
    // A second Ctrl-C ends the process the default way: what is being undone stays half done.
    release();
    controller.abort(new Error(name));
  };
  const onOutputError = (error: NodeJS.ErrnoException): void => {
    // As in `pvecri ps | head -1`: nobody wants the rest.
    if (error.code !== 'EPIPE') throw error;
    controller.abort(READER_LEFT);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal).on('SIGHUP', onSignal);
  process.stdout.on('error', onOutputError);
  process.stderr.on('error', onOutputError);
  return {
    host: {
      stdin: process.stdin,
      stdout: process.stdout,
      stderr: process.stderr,
      signal: controller.signal,
      ...(process.stdin.isTTY &&
        process.stdout.isTTY && { terminal: processTerminal(process.stdin, process.stdout) }),
      releaseInput: () => {
        process.stdin.pause();
        // A file has none of it, and needs none.
        (process.stdin as { unref?: () => void }).unref?.();
      },
    },
    release,
  };
}
