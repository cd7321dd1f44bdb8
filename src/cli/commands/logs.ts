/** `pvecri logs`: what a container wrote, from its log file. */
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { LogJoiner, logTimestampNanos } from '../../core/cri-log.js';
import { RuntimeError, hasCode, wrap } from '../../core/errors.js';
import { ContainerState } from '../../cri/gen/index.js';
import { containerStatus, listInventory } from '../agent-queries.js';
import { CommandFailure, EXIT_INTERRUPTED, EXIT_OK } from '../failure.js';
import { parseDuration } from '../human-units.js';
import { readLog } from '../log-file.js';
import { findContainer } from '../lookup.js';
import { count, examples } from '../option-values.js';
import type { Session } from '../session.js';

interface LogsOptions {
  follow?: true;
  tail?: number;
  since?: bigint;
  timestamps?: true;
  previous?: true;
}

export function addLogs(program: Command, session: Session): void {
  program
    .command('logs')
    .description('show what a container wrote, each stream on its own')
    .argument('<container>', 'name, POD/CONTAINER, id or unique prefix of one')
    .option('-f, --follow', 'go on, through log rotation, until the container ends')
    .option('--tail <LINES>', 'only so many lines from the end', count)
    .option(
      '--since <TIME>',
      'only lines since a time (RFC 3339), or from so long ago (10m)',
      since,
    )
    .option('--timestamps', 'put the time before each line')
    .option('-p, --previous', 'of the attempt before the last restart')
    .addHelpText(
      'after',
      examples(
        'pvecri logs web/proxy',
        'pvecri logs -f --tail 20 web/proxy',
        'pvecri logs --since 10m --timestamps 3f9a',
      ),
    )
    .action((reference: string, options: LogsOptions) =>
      session.act(() => showLogs(session, reference, options)),
    );
}

function since(text: string): bigint {
  const ago = parseDuration(text);
  if (ago !== undefined) return BigInt(Math.round(Date.now() - ago)) * 1_000_000n;
  if (!/^\d{4}-\d\d-\d\dT/.test(text) || Number.isNaN(Date.parse(text))) {
    throw new InvalidArgumentError('Expected a time such as 2026-11-23T14:00:00Z, or 10m.');
  }
  return logTimestampNanos(text);
}

async function showLogs(
  session: Session,
  reference: string,
  options: LogsOptions,
): Promise<number> {
  const cri = await session.cri();
  const { id } = findContainer(await listInventory(cri, session.signal), reference, {
    previous: options.previous === true,
  });
  const status = await containerStatus(cri, id, session.signal);
  if (status === undefined || status.logPath === '') {
    throw new CommandFailure(
      'not-found',
      `container ${JSON.stringify(reference)} has no log: it was made without a log path`,
    );
  }
  const hasEnded = async (): Promise<boolean> => {
    try {
      const now = await containerStatus(cri, id, session.signal);
      return now === undefined || now.state === ContainerState.CONTAINER_EXITED;
    } catch (error) {
      // The agent is being restarted; the container writes on meanwhile.
      if (error instanceof RuntimeError && error.kind === 'unavailable') return false;
      throw error;
    }
  };
  const follow = options.follow ? { hasEnded, signal: session.signal } : undefined;
  try {
    await printLog(session, readLog(status.logPath, options.tail, follow), options);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
    throw wrap(
      error,
      `container ${JSON.stringify(reference)} has no log file any more`,
      'not-found',
    );
  }
  // Ctrl-C is how one leaves a log that goes on: nothing to complain about.
  return session.signal.aborted ? EXIT_INTERRUPTED : EXIT_OK;
}

async function printLog(
  session: Session,
  entries: ReturnType<typeof readLog>,
  options: LogsOptions,
): Promise<void> {
  const joiner = new LogJoiner();
  for await (const entry of entries) {
    if (session.signal.aborted) return;
    if (options.since !== undefined && logTimestampNanos(entry.timestamp) < options.since) continue;
    if (session.json) {
      const { timestamp, stream, partial } = entry;
      const text = Buffer.from(entry.text).toString('utf8');
      // One document a line: a log has no end to wait for.
      await session.out.line(JSON.stringify({ timestamp, stream, partial, text }));
      continue;
    }
    const rendered = joiner.render(entry, options.timestamps ? `${entry.timestamp} ` : '');
    await (entry.stream === 'stdout' ? session.out : session.err).write(rendered);
  }
}
