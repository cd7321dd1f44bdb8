/** `pvecri stop` and `pvecri rm`: ending pods and containers. */
import type { Command } from 'commander';
import { ContainerState } from '../../cri/gen/index.js';
import { agentRoot, listInventory } from '../agent-queries.js';
import { isPodReady, removeContainer, removePod, stopContainer, stopPod } from '../ending.js';
import { CommandFailure } from '../failure.js';
import { forEachObject } from '../for-each-object.js';
import { findPodOrContainer } from '../lookup.js';
import { duration, examples } from '../option-values.js';
import { removePodFiles } from '../pod-files.js';
import type { Session } from '../session.js';

export function addStop(program: Command, session: Session): void {
  program
    .command('stop')
    .description('stop pods or containers: first asked to end, killed after the grace period')
    .argument('<pod-or-container...>', 'name, POD/CONTAINER, id or unique prefix of one')
    .option('--timeout <TIME>', "grace period; the pod's own if not given", duration)
    .addHelpText(
      'after',
      examples('pvecri stop web', 'pvecri stop web/proxy --timeout 5s', 'pvecri stop 3f9a'),
    )
    .action((references: string[], options: { timeout?: number }) =>
      session.act(() => stopObjects(session, references, options.timeout)),
    );
}

export function addRm(program: Command, session: Session): void {
  program
    .command('rm')
    .description('remove stopped pods, with all of their containers, or ended containers')
    .argument('<pod-or-container...>', 'name, POD/CONTAINER, id or unique prefix of one')
    .option('-f, --force', 'kill first what still runs, without a grace period')
    .addHelpText(
      'after',
      '\nA pod that was started by pvecri run loses its log folder and its emptyDir volumes too.\n' +
        examples(
          'pvecri rm web',
          'pvecri rm -f web',
          'pvecri rm $(pvecri pods -q --state notready)',
        ),
    )
    .action((references: string[], options: { force?: true }) =>
      session.act(() => removeObjects(session, references, options.force === true)),
    );
}

async function stopObjects(
  session: Session,
  references: string[],
  graceMs: number | undefined,
): Promise<number> {
  const cri = await session.cri();
  const options = { graceMs, signal: session.signal };
  return forEachObject(session, references, async (reference) => {
    const inventory = await listInventory(cri, session.signal);
    const found = findPodOrContainer(inventory, reference);
    if (found.kind === 'pod') {
      await stopPod(cri, inventory, found.pod, options);
      return found.pod.id;
    }
    await stopContainer(cri, found.container, options);
    return found.container.id;
  });
}

async function removeObjects(
  session: Session,
  references: string[],
  isForced: boolean,
): Promise<number> {
  const cri = await session.cri();
  const { signal } = session;
  return forEachObject(session, references, async (reference) => {
    const found = findPodOrContainer(await listInventory(cri, signal), reference);
    if (found.kind === 'container') {
      const { id, state } = found.container;
      refuseRunning(
        !isForced && state === ContainerState.CONTAINER_RUNNING,
        'container',
        reference,
      );
      await removeContainer(cri, id, { signal });
      return id;
    }
    const { id, metadata } = found.pod;
    refuseRunning(!isForced && isPodReady(found.pod), 'pod', reference);
    await removePod(cri, id, { signal });
    await removePodFiles(await agentRoot(cri, signal), metadata?.uid ?? '');
    return id;
  });
}

function refuseRunning(isRunning: boolean, what: string, reference: string): void {
  if (!isRunning) return;
  throw new CommandFailure(
    'failed-precondition',
    `${what} ${JSON.stringify(reference)} is running: stop it first by pvecri stop, or use --force`,
  );
}
