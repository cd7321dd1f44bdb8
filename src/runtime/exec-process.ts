/** What a command in a running container is run as, for both kinds of exec. */
import { RuntimeError } from '../core/errors.js';
import type { ContainerId } from '../core/ids.js';
import type { ProcessSpec, UserNamespace } from '../core/model.js';
import { requireNoNul } from '../core/text.js';
import { filterForExec } from './container-seccomp.js';
import type { RuntimeContext } from './context.js';
import type { Container } from './objects.js';

export interface Command {
  id: ContainerId;
  runDirectory: string;
  cgroup: string;
  userNamespace: UserNamespace | null;
  process: ProcessSpec;
}

/** A running container by id, and the command in it. */
export async function commandIn(
  context: RuntimeContext,
  containerId: string,
  argv: string[],
  tty: boolean,
): Promise<Command> {
  const { record } = requireCommand(context, containerId, argv);
  return {
    id: record.id,
    runDirectory: context.folders.containerRunDirectory(record.id),
    cgroup: record.cgroup.outer,
    userNamespace: context.objects.sandbox(record.sandboxId).record.userNamespace,
    process: {
      ...record.process,
      argv,
      seccomp: await filterForExec(context, record),
      tty,
    },
  };
}

/** The container of a command that may be run now. */
export function requireCommand(
  context: RuntimeContext,
  containerId: string,
  argv: readonly string[],
): Container {
  const container = context.objects.container(containerId);
  if (argv.length === 0) {
    throw new RuntimeError('invalid-argument', 'exec: cmd is empty: name a command');
  }
  for (const word of argv) requireNoNul('exec cmd', word);
  requireRunning(container, 'a command can be run in a running container only');
  return container;
}

export function requireRunning(container: Container, why: string): void {
  if (container.life.state === 'running') return;
  throw new RuntimeError(
    'failed-precondition',
    `container ${container.id} is ${container.life.state}: ${why}`,
  );
}
