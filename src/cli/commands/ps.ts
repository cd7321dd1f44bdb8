/** `pvecri ps`: the containers the agent has. */
import { Option } from 'commander';
import type { Command } from 'commander';
import { ContainerState, ListImagesRequest } from '../../cri/gen/index.js';
import { containerStatus, listInventory } from '../agent-queries.js';
import { CONTAINER_STATES, containerDocument, containerState } from '../documents.js';
import { formatAge } from '../human-units.js';
import { findPod, podName, podOf } from '../lookup.js';
import { examples, label } from '../option-values.js';
import type { Session } from '../session.js';
import { formatTable, shortId } from '../table.js';

interface PsOptions {
  all?: true;
  quiet?: true;
  name?: string;
  pod?: string;
  label?: Map<string, string>;
  state?: string;
}

export function addPs(program: Command, session: Session): void {
  program
    .command('ps')
    .description('list containers that run')
    .option('-a, --all', 'also those that were created or have ended')
    .option('-q, --quiet', 'print ids alone')
    .option('--name <NAME>', 'only containers of this name')
    .option('--pod <POD>', 'only containers of this pod')
    .option(
      '--label <KEY=VALUE>',
      'only containers with this label; all of several must match',
      label,
    )
    .addOption(
      new Option('--state <STATE>', 'only containers in this state, whatever -a says').choices(
        CONTAINER_STATES,
      ),
    )
    .addHelpText('after', examples('pvecri ps', 'pvecri ps -a --pod web', 'pvecri ps -q --name db'))
    .action((options: PsOptions) => session.act(() => listContainers(session, options)));
}

async function listContainers(session: Session, options: PsOptions): Promise<number> {
  const cri = await session.cri();
  const inventory = await listInventory(cri, session.signal, {
    containers: { labelSelector: options.label ?? new Map<string, string>() },
  });
  const podId = options.pod === undefined ? undefined : findPod(inventory, options.pod).id;
  const listed = await Promise.all(
    inventory.containers
      .filter(
        (container) =>
          (podId === undefined || container.podSandboxId === podId) &&
          (options.name === undefined || container.metadata?.name === options.name) &&
          isWanted(container.state, options),
      )
      .map(async (container) => ({
        container,
        pod: podOf(inventory, container),
        status: await containerStatus(cri, container.id, session.signal),
      })),
  );
  if (session.json) {
    await session.out.json(
      listed.map(({ container, pod, status }) => containerDocument(container, pod, status)),
    );
  } else if (options.quiet) {
    for (const { container } of listed) await session.out.line(container.id);
  } else {
    const now = Date.now();
    const names = await imageNames(session);
    const rows = listed.map(({ container, pod, status }) => [
      shortId(container.id),
      podName(pod),
      container.metadata?.name ?? '',
      names.get(container.imageId) ?? container.image?.image ?? '',
      stateText(status?.state ?? container.state, status?.exitCode ?? 0, status?.reason ?? ''),
      String(container.metadata?.attempt ?? 0),
      formatAge(now - Number(container.createdAt / 1_000_000n)),
    ]);
    await session.out.write(
      formatTable(['CONTAINER', 'POD', 'NAME', 'IMAGE', 'STATE', 'ATTEMPT', 'AGE'], rows),
    );
  }
  return 0;
}

/** A kubelet names an image by its id; people know it by its tag. */
async function imageNames(session: Session): Promise<Map<string, string>> {
  const cri = await session.cri();
  const { images } = await cri.image.listImages(ListImagesRequest.create({}), {
    signal: session.signal,
  });
  return new Map(images.map(({ id, repoTags }) => [id, repoTags[0] ?? shortId(id)]));
}

function isWanted(state: ContainerState, options: PsOptions): boolean {
  if (options.state !== undefined) return containerState(state) === options.state;
  return options.all === true || state === ContainerState.CONTAINER_RUNNING;
}

/** `Completed` and `Error` say no more than the code does. */
function stateText(state: ContainerState, exitCode: number, reason: string): string {
  const name = containerState(state);
  if (name !== 'exited') return name;
  const why = ['', 'Completed', 'Error'].includes(reason) ? '' : `, ${reason}`;
  return `exited (${exitCode}${why})`;
}
